package source

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Credential is what a registry lets a client in with. The zero value is anonymous. Printed or
// logged it tells who it is for, never what it holds.
type Credential struct {
	User     string
	Password string // sensitive
	// IdentityToken is exchanged for access tokens at the registry's token server (OAuth 2 refresh
	// token of the distribution project's token specification). Sensitive; it wins over Password.
	IdentityToken string
	// RegistryToken is sent as it is, as a bearer token. Sensitive; it wins over all others.
	RegistryToken string
}

// Anonymous reports whether there is nothing to send.
func (c Credential) Anonymous() bool { return c == Credential{} }

// String names the user, if there is one.
func (c Credential) String() string {
	switch {
	case c.Anonymous():
		return "anonymous"
	case c.User != "":
		return "user " + c.User
	default:
		return "a token"
	}
}

// GoString is String: %#v prints no secret either.
func (c Credential) GoString() string { return c.String() }

// LogValue is part of slog.LogValuer.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// secrets returns what must never be read in a message.
func (c Credential) secrets() []string {
	return []string{c.Password, c.IdentityToken, c.RegistryToken}
}

// keyring finds the credential for a registry. It is safe for concurrent use.
type keyring struct {
	fixed  map[string]Credential // by registryKey; wins
	docker *dockerConfig         // nil: none configured
}

// find returns the credential for a registry's host[:port]; the zero value if there is none. It may
// run a credential helper. Its error may pass.
func (k *keyring) find(ctx context.Context, host string) (Credential, error) {
	key := registryKey(host)
	if c, ok := k.fixed[key]; ok {
		return c, nil
	}
	if k.docker == nil {
		return Credential{}, nil
	}
	c, err := k.docker.find(ctx, key)
	if err != nil {
		return Credential{}, &UnavailableError{
			Msg: fmt.Sprintf("The credentials of the registry %s cannot be read. The server's log has the details.", host), Err: err,
		}
	}
	return c, nil
}

// registryKey is the name credentials of a registry are kept under. Docker Hub has several, and the
// docker configuration format writes it as a URL.
func registryKey(s string) string {
	s = strings.ToLower(s)
	s = strings.TrimPrefix(strings.TrimPrefix(s, "https://"), "http://")
	s = strings.TrimSuffix(s, "/")
	s = strings.TrimSuffix(strings.TrimSuffix(s, "/v1"), "/v2")
	switch s {
	case "index.docker.io", dockerHub:
		return "docker.io"
	default:
		return s
	}
}
