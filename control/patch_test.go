package control_test

import (
	"errors"
	"testing"

	"apron"
	"apron/control"
)

// imageConfiguration is a configuration with every member set that an image service has.
func imageConfiguration() apron.ServiceConfiguration {
	scope := apron.Scope{Account: "123456789012", Region: "us-east-1"}
	return apron.ServiceConfiguration{
		Source: apron.SourceConfiguration{
			Image: &apron.ImageRepository{
				Identifier: "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1", Type: apron.ImageRepositoryECR,
				Run: apron.RunConfiguration{
					Port: "3000", StartCommand: "serve",
					Env:     map[string]string{"COLOUR": "blue"},
					Secrets: map[string]string{"TOKEN": "arn:aws:ssm:us-east-1:123456789012:parameter/token"},
				},
			},
			AutoDeployments: true, AccessRoleARN: "arn:aws:iam::123456789012:role/pull",
		},
		Instance:    apron.InstanceConfiguration{MilliCPU: 1000, MemoryMiB: 2048, RoleARN: "arn:aws:iam::123456789012:role/run"},
		HealthCheck: apron.DefaultHealthCheck(),
		Network: apron.NetworkConfiguration{
			Public: true, VPCConnector: "arn:aws:apprunner:us-east-1:123456789012:vpcconnector/c/1/0", IPAddressType: "IPV4",
		},
		Observability: &apron.ServiceObservability{Enabled: false},
		AutoScaling:   apron.DefaultAutoScaling(scope).ARN,
	}
}

// codeConfiguration is the same for a code service.
func codeConfiguration() apron.ServiceConfiguration {
	c := imageConfiguration()
	c.Source = apron.SourceConfiguration{
		Code: &apron.CodeRepository{
			URL: "https://git.example.com/team/web", Branch: "main", SourceDirectory: "/srv", ConfigurationSource: "API",
			Values: &apron.CodeConfigurationValues{
				Runtime: "NODEJS_18", BuildCommand: "npm ci",
				Run: apron.RunConfiguration{Port: "3000", StartCommand: "node .", Env: map[string]string{"COLOUR": "blue"}},
			},
		},
		AutoDeployments: true, ConnectionARN: "arn:aws:apprunner:us-east-1:123456789012:connection/c/0",
	}
	return c
}

// patchOf sends all that c holds, as a client does that sends back what Describe answered.
func patchOf(c apron.ServiceConfiguration) control.ServicePatch {
	source := &control.SourcePatch{AutoDeployments: &c.Source.AutoDeployments}
	if c.Source.AccessRoleARN != "" || c.Source.ConnectionARN != "" {
		source.Authentication = &control.AuthenticationPatch{
			AccessRoleARN: c.Source.AccessRoleARN, ConnectionARN: c.Source.ConnectionARN,
		}
	}
	if i := c.Source.Image; i != nil {
		source.Image = &control.ImagePatch{Identifier: i.Identifier, Type: i.Type, Run: &i.Run}
	}
	if k := c.Source.Code; k != nil {
		source.Code = &control.CodePatch{
			URL: k.URL, Branch: k.Branch, SourceDirectory: k.SourceDirectory,
			Configuration: &control.CodeConfigurationPatch{Source: k.ConfigurationSource, Values: k.Values},
		}
	}
	h := c.HealthCheck
	return control.ServicePatch{
		Source:   source,
		Instance: &control.InstancePatch{MilliCPU: &c.Instance.MilliCPU, MemoryMiB: &c.Instance.MemoryMiB, RoleARN: &c.Instance.RoleARN},
		HealthCheck: &control.HealthCheckPatch{
			Protocol: &h.Protocol, Path: &h.Path, Interval: &h.Interval, Timeout: &h.Timeout,
			HealthyThreshold: &h.HealthyThreshold, UnhealthyThreshold: &h.UnhealthyThreshold,
		},
		Network: &control.NetworkPatch{
			Public: &c.Network.Public, VPCConnector: &c.Network.VPCConnector, IPAddressType: c.Network.IPAddressType,
		},
		Observability: c.Observability, AutoScalingARN: c.AutoScaling.String(),
	}
}

// copyOf copies what Merge may change.
func copyOf(c apron.ServiceConfiguration) apron.ServiceConfiguration {
	if c.Source.Image != nil {
		image := *c.Source.Image
		c.Source.Image = &image
	}
	if c.Source.Code != nil {
		code := *c.Source.Code
		c.Source.Code = &code
	}
	return c
}

func wantRefusal(t *testing.T, err error, kind apron.FaultKind, msg string) {
	t.Helper()
	var f *apron.Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault", err)
	}
	if f.Kind != kind || f.Msg != msg {
		t.Errorf("got fault %s: %q, want %s: %q", f.Kind, f.Msg, kind, msg)
	}
}
