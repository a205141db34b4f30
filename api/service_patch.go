package api

import (
	"time"

	"apron"
	"apron/control"
)

// servicePatch converts an UpdateService request. What is absent stays so: control merges the rest
// into what there is, and check judges the result. Only what is gone after merging is checked here.
func servicePatch(in *UpdateServiceRequest) (control.ServicePatch, error) {
	out := control.ServicePatch{
		Instance: instancePatch(in.InstanceConfiguration), HealthCheck: healthCheckPatch(in.HealthCheckConfiguration),
		AutoScalingARN: value(in.AutoScalingConfigurationArn),
	}
	var err error
	if out.Source, err = sourcePatch(in.SourceConfiguration); err != nil {
		return out, err
	}
	if out.Network, err = networkPatch(in.NetworkConfiguration); err != nil {
		return out, err
	}
	out.Observability, err = observability(in.ObservabilityConfiguration)
	return out, err
}

func sourcePatch(in *SourceConfiguration) (*control.SourcePatch, error) {
	if in == nil {
		return nil, nil
	}
	out := &control.SourcePatch{AutoDeployments: in.AutoDeploymentsEnabled}
	if a := in.AuthenticationConfiguration; a != nil {
		out.Authentication = &control.AuthenticationPatch{AccessRoleARN: value(a.AccessRoleArn), ConnectionARN: value(a.ConnectionArn)}
	}
	if r := in.ImageRepository; r != nil {
		out.Image = &control.ImagePatch{Identifier: r.ImageIdentifier, Type: apron.ImageRepositoryType(r.ImageRepositoryType)}
		if c := r.ImageConfiguration; c != nil {
			run := runConfiguration(c.Port, c.StartCommand, c.RuntimeEnvironmentVariables, c.RuntimeEnvironmentSecrets)
			out.Image.Run = &run
			if err := checkPort(run); err != nil {
				return nil, err
			}
		}
	}
	if r := in.CodeRepository; r != nil {
		out.Code = &control.CodePatch{URL: r.RepositoryUrl, Branch: r.SourceCodeVersion.Value, SourceDirectory: value(r.SourceDirectory)}
		if c := r.CodeConfiguration; c != nil {
			out.Code.Configuration = &control.CodeConfigurationPatch{Source: c.ConfigurationSource, Values: codeValues(c)}
			if v := out.Code.Configuration.Values; v != nil && c.ConfigurationSource == apron.ConfigurationFromAPI {
				return out, checkPort(v.Run)
			}
		}
	}
	return out, nil
}

func instancePatch(in *InstanceConfiguration) *control.InstancePatch {
	if in == nil {
		return nil
	}
	return &control.InstancePatch{
		MilliCPU: through(in.Cpu, milliCPU), MemoryMiB: through(in.Memory, memoryMiB), RoleARN: in.InstanceRoleArn,
	}
}

func healthCheckPatch(in *HealthCheckConfiguration) *control.HealthCheckPatch {
	if in == nil {
		return nil
	}
	return &control.HealthCheckPatch{
		Protocol: through(in.Protocol, func(s string) apron.HealthCheckProtocol { return apron.HealthCheckProtocol(s) }),
		Path:     in.Path, Interval: through(in.Interval, seconds), Timeout: through(in.Timeout, seconds),
		HealthyThreshold: in.HealthyThreshold, UnhealthyThreshold: in.UnhealthyThreshold,
	}
}

func networkPatch(in *NetworkConfiguration) (*control.NetworkPatch, error) {
	if in == nil {
		return nil, nil
	}
	out := &control.NetworkPatch{IPAddressType: value(in.IpAddressType)}
	if i := in.IngressConfiguration; i != nil {
		out.Public = new(value(i.IsPubliclyAccessible)) // {} means private, see networkConfiguration
	}
	if e := in.EgressConfiguration; e != nil {
		connector, err := egress(e)
		if err != nil {
			return nil, err
		}
		out.VPCConnector = &connector
	}
	return out, nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// through converts an optional member that is there.
func through[From, To any](p *From, f func(From) To) *To {
	if p == nil {
		return nil
	}
	to := f(*p)
	return &to
}
