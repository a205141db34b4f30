package api

import (
	"strconv"
	"time"

	"apron"
	"apron/control"
)

// wireService converts a service to what Describe shows, every default spelled out: clients
// compare it with what they want.
func wireService(v control.ServiceView) Service {
	c := v.Config
	out := Service{
		ServiceName: v.Name, ServiceId: string(v.ID), ServiceArn: v.ARN().String(), ServiceUrl: optional(v.Host),
		CreatedAt: Timestamp{v.CreatedAt}, UpdatedAt: Timestamp{v.UpdatedAt}, DeletedAt: timestamp(v.DeletedAt),
		Status:                          string(v.Status),
		SourceConfiguration:             wireSource(c.Source),
		InstanceConfiguration:           wireInstance(c.Instance),
		HealthCheckConfiguration:        wireHealthCheck(c.HealthCheck),
		AutoScalingConfigurationSummary: wireAutoScalingSummary(v.AutoScaling),
		NetworkConfiguration:            wireNetwork(c.Network),
	}
	if c.KMSKey != "" {
		out.EncryptionConfiguration = &EncryptionConfiguration{KmsKey: c.KMSKey}
	}
	if o := c.Observability; o != nil {
		out.ObservabilityConfiguration = &ServiceObservabilityConfiguration{
			ObservabilityEnabled: o.Enabled, ObservabilityConfigurationArn: optional(o.Configuration),
		}
	}
	return out
}

func wireServiceSummary(s apron.Service) ServiceSummary {
	return ServiceSummary{
		ServiceName: optional(s.Name), ServiceId: optional(string(s.ID)), ServiceArn: optional(s.ARN().String()),
		ServiceUrl: optional(s.Host), CreatedAt: timestamp(s.CreatedAt), UpdatedAt: timestamp(s.UpdatedAt), Status: optional(string(s.Status)),
	}
}

func wireSource(s apron.SourceConfiguration) SourceConfiguration {
	out := SourceConfiguration{AutoDeploymentsEnabled: &s.AutoDeployments}
	if s.AccessRoleARN != "" || s.ConnectionARN != "" {
		out.AuthenticationConfiguration = &AuthenticationConfiguration{
			ConnectionArn: optional(s.ConnectionARN), AccessRoleArn: optional(s.AccessRoleARN),
		}
	}
	if i := s.Image; i != nil {
		out.ImageRepository = &ImageRepository{
			ImageIdentifier: i.Identifier, ImageRepositoryType: string(i.Type),
			ImageConfiguration: &ImageConfiguration{ // always there, with its port: clients rely on it
				Port: &i.Run.Port, StartCommand: optional(i.Run.StartCommand),
				RuntimeEnvironmentVariables: nonEmpty(i.Run.Env), RuntimeEnvironmentSecrets: nonEmpty(i.Run.Secrets),
			},
		}
	}
	if c := s.Code; c != nil {
		out.CodeRepository = wireCode(c)
	}
	return out
}

func wireCode(c *apron.CodeRepository) *CodeRepository {
	out := &CodeRepository{
		RepositoryUrl: c.URL, SourceCodeVersion: SourceCodeVersion{Type: "BRANCH", Value: c.Branch},
		CodeConfiguration: &CodeConfiguration{ConfigurationSource: c.ConfigurationSource}, SourceDirectory: optional(c.SourceDirectory),
	}
	if v := c.Values; v != nil {
		out.CodeConfiguration.CodeConfigurationValues = &CodeConfigurationValues{
			Runtime: v.Runtime, BuildCommand: optional(v.BuildCommand),
			Port: &v.Run.Port, StartCommand: optional(v.Run.StartCommand),
			RuntimeEnvironmentVariables: nonEmpty(v.Run.Env), RuntimeEnvironmentSecrets: nonEmpty(v.Run.Secrets),
		}
	}
	return out
}

// wireInstance shows sizes as numbers only, whichever spelling was sent: 1024, never 1 vCPU.
func wireInstance(c apron.InstanceConfiguration) InstanceConfiguration {
	cpu, memory := strconv.Itoa(c.MilliCPU*1024/1000), strconv.Itoa(c.MemoryMiB)
	return InstanceConfiguration{Cpu: &cpu, Memory: &memory, InstanceRoleArn: optional(c.RoleARN)}
}

func wireHealthCheck(c apron.HealthCheck) *HealthCheckConfiguration {
	interval, timeout := int(c.Interval/time.Second), int(c.Timeout/time.Second)
	return &HealthCheckConfiguration{
		Protocol: optional(string(c.Protocol)), Path: &c.Path, Interval: &interval, Timeout: &timeout,
		HealthyThreshold: &c.HealthyThreshold, UnhealthyThreshold: &c.UnhealthyThreshold,
	}
}

func wireNetwork(c apron.NetworkConfiguration) NetworkConfiguration {
	egress := "DEFAULT"
	if c.VPCConnector != "" {
		egress = "VPC"
	}
	return NetworkConfiguration{
		EgressConfiguration:  &EgressConfiguration{EgressType: &egress, VpcConnectorArn: optional(c.VPCConnector)},
		IngressConfiguration: &IngressConfiguration{IsPubliclyAccessible: &c.Public},
		IpAddressType:        &c.IPAddressType,
	}
}

// optional returns an optional member: absent when s is empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// timestamp returns an optional time: absent when t is zero.
func timestamp(t time.Time) *Timestamp {
	if t.IsZero() {
		return nil
	}
	return &Timestamp{t}
}

// nonEmpty returns an optional map: absent when it has no entries.
func nonEmpty(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// each converts a list. It returns a list even of nothing, because clients expect one.
func each[From, To any](list []From, f func(From) To) []To {
	out := make([]To, len(list))
	for i, v := range list {
		out[i] = f(v)
	}
	return out
}
