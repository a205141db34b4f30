package api

import (
	"strings"

	"apron"
)

// check reports the first thing in a service's configuration that its members do not allow each
// other, or that App Runner reserves. It needs no store: control checks the rest. Its errors are
// Invalid Faults and never show what the model calls sensitive.
func check(scope apron.Scope, c apron.ServiceConfiguration) error {
	for _, err := range []error{
		checkSource(scope, c.Source),
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

// checkRun checks how the application is started, where the request says so.
func checkRun(s apron.SourceConfiguration) error {
	if s.Image == nil && (s.Code == nil || s.Code.Values == nil) {
		return nil
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
