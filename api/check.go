package api

import (
	"net/url"
	"path/filepath"
	"strings"

	"apron"
)

// check reports the first thing in a service's configuration that its members do not allow each
// other, or that App Runner reserves. It needs no store: control checks the rest. Its errors are
// Invalid Faults and never show what the model calls sensitive.
func check(scope apron.Scope, c apron.ServiceConfiguration) error {
	for _, err := range []error{
		checkSource(scope, c.Source),
		checkCode(c.Source.Code),
		checkRun(c.Source),
		checkSecrets(c),
		c.Instance.Validate(),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkSource(scope apron.Scope, s apron.SourceConfiguration) error {
	if s.Image == nil && s.Code == nil {
		return apron.Faultf(apron.Invalid, "SourceConfiguration must have a CodeRepository or an ImageRepository.")
	}
	if s.Image != nil && s.Code != nil {
		return apron.Faultf(apron.Invalid, "SourceConfiguration must have either a CodeRepository or an ImageRepository, not both.")
	}
	if i := s.Image; i != nil {
		if i.Type == apron.ImageRepositoryECRPublic && s.AccessRoleARN != "" {
			return apron.Faultf(apron.Invalid, "AccessRoleArn must not be specified for an image repository of type ECR_PUBLIC.")
		}
		// AWS knows no other registry of this type; for those Apron adds, a role would mean nothing.
		if i.Type == apron.ImageRepositoryECR && s.AccessRoleARN == "" && ecrAccount(i.Identifier) != "" {
			return apron.Faultf(apron.Invalid, "AuthenticationConfiguration with an AccessRoleArn is required for an image repository of type ECR.")
		}
	}
	if s.AutoDeployments && !canAutoDeploy(scope, s) {
		return apron.Faultf(apron.Invalid, "AutoDeploymentsEnabled can't be true for an ECR Public repository or for an ECR repository of another account.")
	}
	return nil
}

// canAutoDeploy reports whether new versions of a source can be followed, which is also the
// default (API reference, SourceConfiguration): not for public ECR, nor for another account's.
func canAutoDeploy(scope apron.Scope, s apron.SourceConfiguration) bool {
	if s.Image == nil {
		return true
	}
	account := ecrAccount(s.Image.Identifier)
	return s.Image.Type == apron.ImageRepositoryECR && (account == "" || account == scope.Account)
}

// checkCode checks what a repository is named by. Any that git can read will do, not only those AWS
// has connections to.
func checkCode(c *apron.CodeRepository) error {
	if c == nil {
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || !isRepository(u) {
		return apron.Faultf(apron.Invalid, "RepositoryUrl must be the http, https, ssh or file URL of a Git repository.")
	}
	if _, secret := u.User.Password(); secret {
		return apron.Faultf(apron.Invalid, "RepositoryUrl must not contain a password: use a connection.")
	}
	if c.Branch == "" {
		return apron.Faultf(apron.Invalid, "SourceCodeVersion must name a branch.")
	}
	// Absolute from the root of the repository, with or without the slash.
	if dir := strings.TrimLeft(c.SourceDirectory, "/"); dir != "" && !filepath.IsLocal(dir) {
		return apron.Faultf(apron.Invalid, "SourceDirectory must be inside the repository.")
	}
	return nil
}

func isRepository(u *url.URL) bool {
	switch u.Scheme {
	case "http", "https", "ssh":
		return u.Hostname() != "" && u.Opaque == ""
	case "file":
		return u.Host == "" && strings.HasPrefix(u.Path, "/")
	default:
		return false
	}
}

// checkRun checks how the application is started, where the request says so.
func checkRun(s apron.SourceConfiguration) error {
	if s.Code != nil && s.Code.ConfigurationSource == apron.ConfigurationFromRepository {
		return nil // apprunner.yaml says how
	}
	run := s.Run()
	if err := checkPort(run); err != nil {
		return err
	}
	for _, names := range []map[string]string{run.Env, run.Secrets} {
		for name, value := range names {
			if err := checkVariable(name, value); err != nil {
				return err
			}
		}
	}
	for name := range run.Env {
		if _, both := run.Secrets[name]; both {
			return apron.Faultf(apron.Invalid, "A name in RuntimeEnvironmentVariables is also in RuntimeEnvironmentSecrets.")
		}
	}
	return nil
}

func checkVariable(name, value string) error {
	switch {
	case name == "PORT":
		return apron.Faultf(apron.Invalid, "PORT is a reserved environment variable: set Port instead.")
	case strings.HasPrefix(name, "AWSAPPRUNNER"):
		return apron.Faultf(apron.Invalid, "Names of environment variables that begin with AWSAPPRUNNER are reserved.")
	case strings.ContainsAny(name, "=\x00"), strings.ContainsRune(value, 0):
		// execve(2) has no way to pass these on.
		return apron.Faultf(apron.Invalid, "Environment variables can't hold a NUL character, nor their names an equals sign.")
	}
	return nil
}

func checkPort(run apron.RunConfiguration) error {
	if !isPort(run.Port) {
		return apron.Faultf(apron.Invalid, "Port must be a number from 1 to 65535.")
	}
	return nil
}

// isPort reports whether s is a port number in plain decimal digits.
func isPort(s string) bool {
	n := apron.RunConfiguration{Port: s}.PortNumber()
	return n > 0 && s[0] >= '1' && s[0] <= '9'
}

// checkSecrets wants the role that values of secrets are read with.
func checkSecrets(c apron.ServiceConfiguration) error {
	if len(c.Source.Run().Secrets) > 0 && c.Instance.RoleARN == "" {
		return apron.Faultf(apron.Invalid, "InstanceRoleArn is required when RuntimeEnvironmentSecrets are specified.")
	}
	return nil
}
