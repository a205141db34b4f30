package api

import (
	"apron"
	"apron/control"
)

// newService converts a CreateService request to root types and fills in the defaults of the API
// reference. Only what the two forms cannot both say is checked here: see check.go for the rest.
func newService(scope apron.Scope, in *CreateServiceRequest) (control.NewService, error) {
	out := control.NewService{Name: in.ServiceName, AutoScalingARN: value(in.AutoScalingConfigurationArn)}
	var err error
	if out.Config.Source, err = sourceConfiguration(scope, in.SourceConfiguration); err != nil {
		return out, err
	}
	if out.Config.Network, err = networkConfiguration(in.NetworkConfiguration); err != nil {
		return out, err
	}
	if out.Config.Observability, err = observability(in.ObservabilityConfiguration); err != nil {
		return out, err
	}
	out.Config.Instance = instanceConfiguration(in.InstanceConfiguration)
	out.Config.HealthCheck = healthCheck(in.HealthCheckConfiguration)
	if in.EncryptionConfiguration != nil {
		out.Config.KMSKey = in.EncryptionConfiguration.KmsKey
	}
	out.Tags = rootTags(in.Tags)
	return out, nil
}

func sourceConfiguration(scope apron.Scope, in SourceConfiguration) (apron.SourceConfiguration, error) {
	var out apron.SourceConfiguration
	if a := in.AuthenticationConfiguration; a != nil { // {} is sent for public images, and means nothing
		out.AccessRoleARN, out.ConnectionARN = value(a.AccessRoleArn), value(a.ConnectionArn)
	}
	if r := in.ImageRepository; r != nil {
		out.Image = imageRepository(r)
	}
	if r := in.CodeRepository; r != nil {
		var err error
		if out.Code, err = codeRepository(r); err != nil {
			return out, err
		}
	}
	if in.AutoDeploymentsEnabled != nil {
		out.AutoDeployments = *in.AutoDeploymentsEnabled
	} else {
		out.AutoDeployments = canAutoDeploy(scope, out)
	}
	return out, nil
}

func imageRepository(in *ImageRepository) *apron.ImageRepository {
	out := &apron.ImageRepository{Identifier: in.ImageIdentifier, Type: apron.ImageRepositoryType(in.ImageRepositoryType)}
	c := in.ImageConfiguration
	if c == nil {
		c = &ImageConfiguration{}
	}
	out.Run = runConfiguration(c.Port, c.StartCommand, c.RuntimeEnvironmentVariables, c.RuntimeEnvironmentSecrets)
	return out
}

func codeRepository(in *CodeRepository) (*apron.CodeRepository, error) {
	out := &apron.CodeRepository{
		URL: in.RepositoryUrl, Branch: in.SourceCodeVersion.Value, SourceDirectory: or(in.SourceDirectory, "/"),
	}
	c := in.CodeConfiguration
	if c == nil {
		return nil, apron.Faultf(apron.Invalid, "CodeConfiguration is required to create a service from a CodeRepository.")
	}
	out.ConfigurationSource = c.ConfigurationSource
	if out.Values = codeValues(c); out.Values == nil && c.ConfigurationSource == apron.ConfigurationFromAPI {
		return nil, apron.Faultf(apron.Invalid, "CodeConfigurationValues is required when ConfigurationSource is API.")
	}
	return out, nil
}

// codeValues returns the values that were sent. With ConfigurationSource REPOSITORY they mean nothing,
// but a client that reads them back expects what it sent.
func codeValues(c *CodeConfiguration) *apron.CodeConfigurationValues {
	v := c.CodeConfigurationValues
	if v == nil {
		return nil
	}
	return &apron.CodeConfigurationValues{
		Runtime: v.Runtime, BuildCommand: value(v.BuildCommand),
		Run: runConfiguration(v.Port, v.StartCommand, v.RuntimeEnvironmentVariables, v.RuntimeEnvironmentSecrets),
	}
}

func runConfiguration(port, start *string, env, secrets map[string]string) apron.RunConfiguration {
	return apron.RunConfiguration{Port: or(port, "8080"), StartCommand: value(start), Env: env, Secrets: secrets}
}

// instanceConfiguration accepts both spellings of each size, such as 1024 and 1 vCPU, which the
// model's patterns have already limited to the ones in the tables.
func instanceConfiguration(in *InstanceConfiguration) apron.InstanceConfiguration {
	if in == nil {
		in = &InstanceConfiguration{}
	}
	return apron.InstanceConfiguration{
		MilliCPU: milliCPU(or(in.Cpu, "1024")), MemoryMiB: memoryMiB(or(in.Memory, "2048")), RoleARN: value(in.InstanceRoleArn),
	}
}

// milliCPU reads the API's Cpu. The model's pattern has a dot that stands for any character, as in
// "0x5 vCPU": such a value is 0 and fails InstanceConfiguration.Validate.
func milliCPU(s string) int {
	return map[string]int{
		"256": 250, "512": 500, "1024": 1000, "2048": 2000, "4096": 4000,
		"0.25 vCPU": 250, "0.5 vCPU": 500, "1 vCPU": 1000, "2 vCPU": 2000, "4 vCPU": 4000,
	}[s]
}

// memoryMiB reads the API's Memory; see milliCPU for what it does not know.
func memoryMiB(s string) int {
	return map[string]int{
		"512": 512, "1024": 1024, "2048": 2048, "3072": 3072, "4096": 4096, "6144": 6144, "8192": 8192, "10240": 10240, "12288": 12288,
		"0.5 GB": 512, "1 GB": 1024, "2 GB": 2048, "3 GB": 3072, "4 GB": 4096, "6 GB": 6144, "8 GB": 8192, "10 GB": 10240, "12 GB": 12288,
	}[s]
}

func healthCheck(in *HealthCheckConfiguration) apron.HealthCheck {
	out := apron.DefaultHealthCheck()
	if in == nil {
		return out
	}
	out.Protocol = apron.HealthCheckProtocol(or(in.Protocol, string(out.Protocol)))
	out.Path = or(in.Path, out.Path)
	out.HealthyThreshold = or(in.HealthyThreshold, out.HealthyThreshold)
	out.UnhealthyThreshold = or(in.UnhealthyThreshold, out.UnhealthyThreshold)
	out.Interval = or(through(in.Interval, seconds), out.Interval)
	out.Timeout = or(through(in.Timeout, seconds), out.Timeout)
	return out
}

// networkConfiguration knows that a service is public only if IngressConfiguration is absent or
// says so: the SDK for Go leaves out a false IsPubliclyAccessible, so {} means private.
func networkConfiguration(in *NetworkConfiguration) (apron.NetworkConfiguration, error) {
	out := apron.NetworkConfiguration{Public: true, IPAddressType: "IPV4"}
	if in == nil {
		return out, nil
	}
	out.IPAddressType = or(in.IpAddressType, out.IPAddressType)
	if i := in.IngressConfiguration; i != nil {
		out.Public = value(i.IsPubliclyAccessible)
	}
	if e := in.EgressConfiguration; e != nil {
		var err error
		if out.VPCConnector, err = egress(e); err != nil {
			return out, err
		}
	}
	return out, nil
}

// egress returns the VPC connector that outgoing traffic takes, empty for none.
func egress(e *EgressConfiguration) (string, error) {
	connector, vpc := value(e.VpcConnectorArn), or(e.EgressType, "DEFAULT") == "VPC"
	if vpc && connector == "" {
		return "", apron.Faultf(apron.Invalid, "VpcConnectorArn is required when EgressType is VPC.")
	}
	if !vpc && connector != "" {
		return "", apron.Faultf(apron.Invalid, "VpcConnectorArn can only be specified when EgressType is VPC.")
	}
	return connector, nil
}

func observability(in *ServiceObservabilityConfiguration) (*apron.ServiceObservability, error) {
	if in == nil {
		return nil, nil
	}
	out := &apron.ServiceObservability{Enabled: in.ObservabilityEnabled, Configuration: value(in.ObservabilityConfigurationArn)}
	if !out.Enabled && out.Configuration != "" {
		return nil, apron.Faultf(apron.Invalid, "ObservabilityConfigurationArn can only be specified when ObservabilityEnabled is true.")
	}
	return out, nil
}

// value returns what p points to, the zero value for an absent member.
func value[T any](p *T) T {
	var zero T
	return or(p, zero)
}

// or returns what p points to, or def for an absent member.
func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}
