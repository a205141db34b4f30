package control_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
)

func TestMerge(t *testing.T) {
	const image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:2"
	type config = apron.ServiceConfiguration
	sent := func(run *apron.RunConfiguration) *control.SourcePatch {
		return &control.SourcePatch{Image: &control.ImagePatch{Identifier: image, Type: apron.ImageRepositoryECR, Run: run}}
	}
	code := func(c *control.CodeConfigurationPatch) *control.SourcePatch {
		return &control.SourcePatch{Code: &control.CodePatch{URL: "https://git.example.com/team/web", Branch: "next", Configuration: c}}
	}
	everything := control.Change{Source: true, Instance: true, HealthCheck: true, Network: true, Observability: true, AutoScaling: true}
	tests := map[string]struct {
		current config
		patch   control.ServicePatch
		want    func(*config) // what becomes different
		change  control.Change
	}{
		"nothing sent, nothing changes": {
			current: imageConfiguration(), want: func(*config) {},
		},
		"the description of an image service sent back changes nothing": {
			current: imageConfiguration(), patch: patchOf(imageConfiguration()), want: func(*config) {}, change: everything,
		},
		"the description of a code service sent back changes nothing": {
			current: codeConfiguration(), patch: patchOf(codeConfiguration()), want: func(*config) {}, change: everything,
		},
		"an empty source is one that was sent": {
			current: imageConfiguration(), patch: control.ServicePatch{Source: &control.SourcePatch{}},
			want: func(*config) {}, change: control.Change{Source: true},
		},
		"an image alone keeps the image configuration": {
			current: imageConfiguration(), patch: control.ServicePatch{Source: sent(nil)},
			want: func(c *config) { c.Source.Image.Identifier = image }, change: control.Change{Source: true},
		},
		"an image configuration replaces the old one as a whole": {
			current: imageConfiguration(),
			patch:   control.ServicePatch{Source: sent(&apron.RunConfiguration{Env: map[string]string{"SHAPE": "round"}})},
			want: func(c *config) {
				c.Source.Image.Identifier = image
				c.Source.Image.Run = apron.RunConfiguration{Port: "8080", Env: map[string]string{"SHAPE": "round"}}
			},
			change: control.Change{Source: true},
		},
		"T14: an image configuration without variables drops them": {
			current: imageConfiguration(), patch: control.ServicePatch{Source: sent(&apron.RunConfiguration{Port: "3000"})},
			want: func(c *config) {
				c.Source.Image.Identifier = image
				c.Source.Image.Run = apron.RunConfiguration{Port: "3000"}
			},
			change: control.Change{Source: true},
		},
		"automatic deployments alone keep the repository": {
			current: imageConfiguration(), patch: control.ServicePatch{Source: &control.SourcePatch{AutoDeployments: new(bool)}},
			want:   func(c *config) { c.Source.AutoDeployments = false },
			change: control.Change{Source: true},
		},
		"an authentication configuration replaces the old one": {
			current: imageConfiguration(),
			patch: control.ServicePatch{Source: &control.SourcePatch{
				Authentication: &control.AuthenticationPatch{AccessRoleARN: "arn:aws:iam::123456789012:role/other"},
			}},
			want:   func(c *config) { c.Source.AccessRoleARN = "arn:aws:iam::123456789012:role/other" },
			change: control.Change{Source: true},
		},
		"an empty authentication configuration takes the role away": {
			current: imageConfiguration(),
			patch:   control.ServicePatch{Source: &control.SourcePatch{Authentication: &control.AuthenticationPatch{}}},
			want:    func(c *config) { c.Source.AccessRoleARN = "" },
			change:  control.Change{Source: true},
		},
		"a code repository alone keeps directory and configuration": {
			current: codeConfiguration(), patch: control.ServicePatch{Source: code(nil)},
			want: func(c *config) { c.Source.Code.Branch = "next" }, change: control.Change{Source: true},
		},
		"a code configuration without values keeps them": {
			current: codeConfiguration(), patch: control.ServicePatch{Source: code(&control.CodeConfigurationPatch{Source: "API"})},
			want: func(c *config) { c.Source.Code.Branch = "next" }, change: control.Change{Source: true},
		},
		"code configuration values replace the old ones as a whole": {
			current: codeConfiguration(),
			patch: control.ServicePatch{Source: code(&control.CodeConfigurationPatch{
				Source: "API", Values: &apron.CodeConfigurationValues{Runtime: "NODEJS_22"},
			})},
			want: func(c *config) {
				c.Source.Code.Branch = "next"
				c.Source.Code.Values = &apron.CodeConfigurationValues{Runtime: "NODEJS_22", Run: apron.RunConfiguration{Port: "8080"}}
			},
			change: control.Change{Source: true},
		},
		"a configuration file takes the place of the values": {
			current: codeConfiguration(),
			patch: control.ServicePatch{Source: code(&control.CodeConfigurationPatch{
				Source: "REPOSITORY", Values: &apron.CodeConfigurationValues{Runtime: "NODEJS_22"},
			})},
			want: func(c *config) {
				c.Source.Code.Branch, c.Source.Code.ConfigurationSource = "next", "REPOSITORY"
				c.Source.Code.Values = &apron.CodeConfigurationValues{Runtime: "NODEJS_22", Run: apron.RunConfiguration{Port: "8080"}}
			},
			change: control.Change{Source: true},
		},
		"a configuration file without values takes them away": {
			current: codeConfiguration(), patch: control.ServicePatch{Source: code(&control.CodeConfigurationPatch{Source: "REPOSITORY"})},
			want: func(c *config) {
				c.Source.Code.Branch, c.Source.Code.ConfigurationSource, c.Source.Code.Values = "next", "REPOSITORY", nil
			},
			change: control.Change{Source: true},
		},
		"another connection": {
			current: codeConfiguration(),
			patch: control.ServicePatch{Source: &control.SourcePatch{
				Authentication: &control.AuthenticationPatch{ConnectionARN: "arn:aws:apprunner:us-east-1:123456789012:connection/d/0"},
			}},
			want:   func(c *config) { c.Source.ConnectionARN = "arn:aws:apprunner:us-east-1:123456789012:connection/d/0" },
			change: control.Change{Source: true},
		},
		"a source directory that was sent": {
			current: codeConfiguration(),
			patch: control.ServicePatch{Source: &control.SourcePatch{Code: &control.CodePatch{
				URL: "https://git.example.com/team/api", Branch: "main", SourceDirectory: "/api",
			}}},
			want: func(c *config) {
				c.Source.Code.URL, c.Source.Code.SourceDirectory = "https://git.example.com/team/api", "/api"
			},
			change: control.Change{Source: true},
		},
		"memory alone keeps CPU and role": {
			current: imageConfiguration(), patch: control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(4096)}},
			want: func(c *config) { c.Instance.MemoryMiB = 4096 }, change: control.Change{Instance: true},
		},
		"CPU and role": {
			current: imageConfiguration(),
			patch: control.ServicePatch{Instance: &control.InstancePatch{
				MilliCPU: new(2000), MemoryMiB: new(6144), RoleARN: new("arn:aws:iam::123456789012:role/other"),
			}},
			want: func(c *config) {
				c.Instance = apron.InstanceConfiguration{MilliCPU: 2000, MemoryMiB: 6144, RoleARN: "arn:aws:iam::123456789012:role/other"}
			},
			change: control.Change{Instance: true},
		},
		"an empty instance configuration is one that was sent": {
			current: imageConfiguration(), patch: control.ServicePatch{Instance: &control.InstancePatch{}},
			want: func(*config) {}, change: control.Change{Instance: true},
		},
		"one member of the health check": {
			current: imageConfiguration(),
			patch:   control.ServicePatch{HealthCheck: &control.HealthCheckPatch{Protocol: new(apron.HealthCheckHTTP), Path: new("/up")}},
			want:    func(c *config) { c.HealthCheck.Protocol, c.HealthCheck.Path = apron.HealthCheckHTTP, "/up" },
			change:  control.Change{HealthCheck: true},
		},
		"the other members of the health check": {
			current: imageConfiguration(),
			patch: control.ServicePatch{HealthCheck: &control.HealthCheckPatch{
				Interval: new(10 * time.Second), Timeout: new(3 * time.Second), HealthyThreshold: new(2), UnhealthyThreshold: new(3),
			}},
			want: func(c *config) {
				c.HealthCheck.Interval, c.HealthCheck.Timeout = 10*time.Second, 3*time.Second
				c.HealthCheck.HealthyThreshold, c.HealthCheck.UnhealthyThreshold = 2, 3
			},
			change: control.Change{HealthCheck: true},
		},
		"W7: an ingress configuration that says private keeps the egress": {
			current: imageConfiguration(), patch: control.ServicePatch{Network: &control.NetworkPatch{Public: new(bool)}},
			want: func(c *config) { c.Network.Public = false }, change: control.Change{Network: true},
		},
		"T22: default egress takes the connector away": {
			current: imageConfiguration(), patch: control.ServicePatch{Network: &control.NetworkPatch{VPCConnector: new(string)}},
			want: func(c *config) { c.Network.VPCConnector = "" }, change: control.Change{Network: true},
		},
		"an address type keeps ingress and egress": {
			current: imageConfiguration(), patch: control.ServicePatch{Network: &control.NetworkPatch{IPAddressType: "DUAL_STACK"}},
			want: func(c *config) { c.Network.IPAddressType = "DUAL_STACK" }, change: control.Change{Network: true},
		},
		"observability is replaced": {
			current: imageConfiguration(),
			patch:   control.ServicePatch{Observability: &apron.ServiceObservability{Enabled: true}},
			want:    func(c *config) { c.Observability = &apron.ServiceObservability{Enabled: true} },
			change:  control.Change{Observability: true},
		},
		"an auto scaling configuration is left to the store": {
			current: imageConfiguration(), patch: control.ServicePatch{AutoScalingARN: "autoscalingconfiguration/high"},
			want: func(*config) {}, change: control.Change{AutoScaling: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := tt.current
			want := copyOf(tt.current)
			tt.want(&want)
			got, change, err := control.Merge(tt.current, tt.patch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if change != tt.change {
				t.Errorf("change: got %+v, want %+v", change, tt.change)
			}
			if diff := cmp.Diff(before, tt.current); diff != "" {
				t.Errorf("the current configuration was changed:\n%s", diff)
			}
			if change.None() != (tt.change == control.Change{}) {
				t.Errorf("None is %v for %+v", change.None(), change)
			}
		})
	}
}

func TestMergeSharesNothing(t *testing.T) {
	current := imageConfiguration()
	got, _, err := control.Merge(current, control.ServicePatch{})
	if err != nil {
		t.Fatal(err)
	}
	got.Source.Image.Run.Env["COLOUR"] = "red"
	got.Source.Image.Run.Secrets["TOKEN"] = "other"
	got.Source.Image.Identifier = "other"
	got.Observability.Enabled = true
	if diff := cmp.Diff(imageConfiguration(), current); diff != "" {
		t.Errorf("the current configuration was changed through the result:\n%s", diff)
	}
	current = codeConfiguration()
	for _, patch := range []control.ServicePatch{{}, patchOf(current)} {
		if got, _, err = control.Merge(current, patch); err != nil {
			t.Fatal(err)
		}
		got.Source.Code.Branch = "other"
		got.Source.Code.Values.Runtime = "GO_1"
		got.Source.Code.Values.Run.Env["COLOUR"] = "red"
		if diff := cmp.Diff(codeConfiguration(), current); diff != "" {
			t.Errorf("the current configuration was changed through the result:\n%s", diff)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	image := &control.ImagePatch{Identifier: "public.ecr.aws/team/web:1", Type: apron.ImageRepositoryECRPublic}
	code := &control.CodePatch{URL: "https://git.example.com/team/web", Branch: "main"}
	fromFile := codeConfiguration()
	fromFile.Source.Code.ConfigurationSource, fromFile.Source.Code.Values = "REPOSITORY", nil
	tests := map[string]struct {
		current apron.ServiceConfiguration
		patch   control.ServicePatch
		want    string
	}{
		"another image type": {
			imageConfiguration(),
			control.ServicePatch{Source: &control.SourcePatch{Image: image}},
			"The image repository type cannot be changed in UpdateService request",
		},
		"code for an image service": {
			imageConfiguration(),
			control.ServicePatch{Source: &control.SourcePatch{Code: code}},
			"The source repository type cannot be changed between code and image in UpdateService request",
		},
		"an image for a code service": {
			codeConfiguration(),
			control.ServicePatch{Source: &control.SourcePatch{Image: image}},
			"The source repository type cannot be changed between code and image in UpdateService request",
		},
		"both repositories": {
			imageConfiguration(),
			control.ServicePatch{Source: &control.SourcePatch{Image: image, Code: code}},
			"SourceConfiguration must have either a CodeRepository or an ImageRepository, not both.",
		},
		"values by the API that were never sent": {
			fromFile,
			control.ServicePatch{Source: &control.SourcePatch{Code: &control.CodePatch{
				URL: "https://git.example.com/team/web", Branch: "main",
				Configuration: &control.CodeConfigurationPatch{Source: "API"},
			}}},
			"CodeConfigurationValues is required when ConfigurationSource is API.",
		},
		"memory that does not go with the CPU there was": {
			imageConfiguration(),
			control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(512)}},
			"Invalid combination of Cpu and Memory: 1024 CPU units with 512 MB. Memory sizes for this Cpu: [2048 3072 4096]",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := control.Merge(tt.current, tt.patch)
			wantRefusal(t, err, apron.Invalid, tt.want)
		})
	}
}
