package api

import (
	"strings"

	"apron"
	"apron/control"
)

// check reports the first thing in a new service that its members do not allow each other, or that
// App Runner reserves. It needs no store: control checks the rest. Its errors are Invalid Faults
// and never show what the model calls sensitive.
func check(scope apron.Scope, n control.NewService) error {
	for _, err := range []error{
		checkSource(scope, n.Config.Source),
		checkRun(n.Config.Source),
		checkSecrets(n.Config),
		n.Config.Instance.Validate(),
		checkTags(n.Tags),
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
	if !isPort(run.Port) {
		return apron.Faultf(apron.Invalid, "Port must be a number from 1 to 65535.")
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

// checkTags checks what the model's constraints on each tag cannot say. Tags that begin with
// apron: switch extensions on, so one that nobody knows is a mistake to be told, not to be kept.
func checkTags(tags []apron.Tag) error {
	if len(tags) > apron.MaxTags {
		return apron.Faultf(apron.Invalid, "A resource can have at most %d tags.", apron.MaxTags)
	}
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		if seen[t.Key] {
			return apron.Faultf(apron.Invalid, "Duplicate tag key: %s", t.Key)
		}
		seen[t.Key] = true
		if strings.HasPrefix(t.Key, "apron:") {
			return apron.Faultf(apron.Invalid, "Unknown tag key: %s. Keys that begin with apron: are reserved, and this version of Apron has none.", t.Key)
		}
	}
	return nil
}
