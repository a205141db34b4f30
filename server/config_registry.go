package server

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"apron/source"
)

// RegistryCredential is what a registry lets this server in with: a user with a password, in the
// configuration or in a file of its own, or an identity token. It prints as nothing but the user.
type RegistryCredential struct {
	User          string `koanf:"user"`
	Password      string `koanf:"password"`       // sensitive
	PasswordFile  string `koanf:"password-file"`  // its content without the line end at its end
	IdentityToken string `koanf:"identity-token"` // sensitive
}

// String names the user.
func (c RegistryCredential) String() string { return "credential of " + c.User }

// GoString is String: %#v prints no secret either.
func (c RegistryCredential) GoString() string { return c.String() }

func (c RegistryCredential) validate() error {
	switch {
	case c.IdentityToken != "" && c.Password+c.PasswordFile != "":
		return errors.New("identity-token goes without a password")
	case c.Password != "" && c.PasswordFile != "":
		return errors.New("password and password-file exclude each other")
	case c.IdentityToken == "" && (c.User == "" || c.Password+c.PasswordFile == ""):
		return errors.New("it needs a user with a password or password-file, or an identity-token")
	default:
		return nil
	}
}

// credential reads what is in files.
func (c RegistryCredential) credential() (source.Credential, error) {
	password := c.Password
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return source.Credential{}, fmt.Errorf("read password: %w", err)
		}
		password = strings.TrimRight(string(b), "\r\n")
	}
	return source.Credential{User: c.User, Password: password, IdentityToken: c.IdentityToken}, nil
}

// sourceConfig is what finds images, from this configuration.
func (c Config) sourceConfig() (source.Config, error) {
	credentials := map[string]source.Credential{}
	for host, entry := range c.RegistryCredentials {
		found, err := entry.credential()
		if err != nil {
			return source.Config{}, fmt.Errorf("credentials of the registry %s: %w", host, err)
		}
		credentials[host] = found
	}
	return source.Config{Mirrors: c.Mirrors, Insecure: c.Insecure, Credentials: credentials, DockerConfig: c.DockerConfig}, nil
}
