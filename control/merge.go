package control

import (
	"maps"
	"time"

	"apron"
)

// ServicePatch is what an UpdateService request sent: a nil member was absent and stays as it is.
// Its strings have passed the model's constraints and are in the form root types keep.
type ServicePatch struct {
	Source      *SourcePatch      // SourceConfiguration
	Instance    *InstancePatch    // InstanceConfiguration
	HealthCheck *HealthCheckPatch // HealthCheckConfiguration
	Network     *NetworkPatch     // NetworkConfiguration
	// Observability is ObservabilityConfiguration. It replaces what there was.
	Observability *apron.ServiceObservability
	// AutoScalingARN is AutoScalingConfigurationArn as sent, full or partial; empty: absent.
	AutoScalingARN string
}

// SourcePatch is a sent SourceConfiguration. Nil members were absent.
type SourcePatch struct {
	Image           *ImagePatch
	Code            *CodePatch
	AutoDeployments *bool
	// Authentication is AuthenticationConfiguration. It replaces what there was, so that {} takes an
	// access role or a connection away.
	Authentication *AuthenticationPatch
}

// AuthenticationPatch is a sent AuthenticationConfiguration. Empty members were absent.
type AuthenticationPatch struct {
	AccessRoleARN string
	ConnectionARN string
}

// ImagePatch is a sent ImageRepository, whose first two members the model requires.
type ImagePatch struct {
	Identifier string
	Type       apron.ImageRepositoryType
	// Run is ImageConfiguration; nil: absent, the one there was stays. It replaces that as a whole:
	// variables it does not hold are gone, and an empty Port is the default again.
	Run *apron.RunConfiguration
}

// CodePatch is a sent CodeRepository.
type CodePatch struct {
	URL             string
	Branch          string
	SourceDirectory string                  // empty: absent
	Configuration   *CodeConfigurationPatch // CodeConfiguration; nil: absent
}

// CodeConfigurationPatch is a sent CodeConfiguration.
type CodeConfigurationPatch struct {
	Source string // ConfigurationSource: REPOSITORY or API
	// Values is CodeConfigurationValues. It replaces what there was as a whole, as ImagePatch.Run does.
	// nil: absent, what there was stays if Source is API, which needs values; else there are none.
	Values *apron.CodeConfigurationValues
}

// InstancePatch is a sent InstanceConfiguration. Nil members were absent.
type InstancePatch struct {
	MilliCPU  *int
	MemoryMiB *int
	RoleARN   *string
}

// HealthCheckPatch is a sent HealthCheckConfiguration. Nil members were absent.
type HealthCheckPatch struct {
	Protocol           *apron.HealthCheckProtocol
	Path               *string
	Interval           *time.Duration
	Timeout            *time.Duration
	HealthyThreshold   *int
	UnhealthyThreshold *int
}

// NetworkPatch is a sent NetworkConfiguration. Nil and empty members were absent.
type NetworkPatch struct {
	// Public is IngressConfiguration. One without IsPubliclyAccessible says false: the SDK for Go
	// leaves out a false member.
	Public *bool
	// VPCConnector is EgressConfiguration: the connector's ARN, or empty for EgressType DEFAULT.
	VPCConnector  *string
	IPAddressType string
}

// Change says which members an update sent, whether or not they say anything new.
type Change struct {
	Source, Instance, HealthCheck, Network, Observability, AutoScaling bool
}

// None reports whether nothing was sent.
func (c Change) None() bool { return c == Change{} }

// Merge returns what a service's configuration becomes by an update, and what the update sent
// (API reference, UpdateService; reference/api.md §5.1). It is pure, and the result shares no map
// or pointer with current that a caller could change. AutoScaling stays as it was, because only the
// store can tell what a partial ARN names. Its errors are Invalid Faults; it checks what depends on
// both the old and the new, and what the root types check themselves.
func Merge(current apron.ServiceConfiguration, patch ServicePatch) (apron.ServiceConfiguration, Change, error) {
	next := current
	change := Change{
		Source: patch.Source != nil, Instance: patch.Instance != nil, HealthCheck: patch.HealthCheck != nil,
		Network: patch.Network != nil, Observability: patch.Observability != nil, AutoScaling: patch.AutoScalingARN != "",
	}
	var err error
	if next.Source, err = mergeSource(current.Source, patch.Source); err != nil {
		return apron.ServiceConfiguration{}, Change{}, err
	}
	if p := patch.Instance; p != nil {
		set(&next.Instance.MilliCPU, p.MilliCPU)
		set(&next.Instance.MemoryMiB, p.MemoryMiB)
		set(&next.Instance.RoleARN, p.RoleARN)
		if err := next.Instance.Validate(); err != nil {
			return apron.ServiceConfiguration{}, Change{}, err
		}
	}
	if p := patch.HealthCheck; p != nil {
		set(&next.HealthCheck.Protocol, p.Protocol)
		set(&next.HealthCheck.Path, p.Path)
		set(&next.HealthCheck.Interval, p.Interval)
		set(&next.HealthCheck.Timeout, p.Timeout)
		set(&next.HealthCheck.HealthyThreshold, p.HealthyThreshold)
		set(&next.HealthCheck.UnhealthyThreshold, p.UnhealthyThreshold)
	}
	if p := patch.Network; p != nil {
		set(&next.Network.Public, p.Public)
		set(&next.Network.VPCConnector, p.VPCConnector)
		if p.IPAddressType != "" {
			next.Network.IPAddressType = p.IPAddressType
		}
	}
	if patch.Observability != nil {
		next.Observability = patch.Observability
	}
	if next.Observability != nil {
		o := *next.Observability
		next.Observability = &o
	}
	return next, change, nil
}

// set writes what was sent.
func set[T any](to *T, sent *T) {
	if sent != nil {
		*to = *sent
	}
}

func mergeSource(current apron.SourceConfiguration, p *SourcePatch) (apron.SourceConfiguration, error) {
	next := current
	if current.Image != nil {
		next.Image = mergeImage(*current.Image, nil)
	}
	if current.Code != nil {
		code := *current.Code
		code.Values = cloneValues(code.Values)
		next.Code = &code
	}
	if p == nil {
		return next, nil
	}
	switch {
	case p.Image != nil && p.Code != nil:
		return next, apron.Faultf(apron.Invalid, "SourceConfiguration must have either a CodeRepository or an ImageRepository, not both.")
	case p.Image != nil && current.Image == nil, p.Code != nil && current.Code == nil:
		return next, apron.Faultf(apron.Invalid, "The source repository type cannot be changed between code and image in UpdateService request")
	case p.Image != nil && p.Image.Type != current.Image.Type:
		return next, apron.Faultf(apron.Invalid, "The image repository type cannot be changed in UpdateService request")
	case p.Image != nil:
		next.Image = mergeImage(*current.Image, p.Image)
	case p.Code != nil:
		code, err := mergeCode(*next.Code, *p.Code)
		if err != nil {
			return next, err
		}
		next.Code = &code
	}
	set(&next.AutoDeployments, p.AutoDeployments)
	if a := p.Authentication; a != nil {
		next.AccessRoleARN, next.ConnectionARN = a.AccessRoleARN, a.ConnectionARN
	}
	return next, nil
}

func mergeImage(current apron.ImageRepository, p *ImagePatch) *apron.ImageRepository {
	next := current
	if p != nil {
		next.Identifier = p.Identifier
		if p.Run != nil {
			next.Run = *p.Run
		}
	}
	next.Run = completeRun(next.Run)
	return &next
}

func mergeCode(next apron.CodeRepository, p CodePatch) (apron.CodeRepository, error) {
	next.URL, next.Branch = p.URL, p.Branch
	if p.SourceDirectory != "" {
		next.SourceDirectory = p.SourceDirectory
	}
	c := p.Configuration
	if c == nil {
		return next, nil
	}
	next.ConfigurationSource = c.Source
	switch {
	case c.Source != apron.ConfigurationFromAPI:
		next.Values = cloneValues(c.Values) // apprunner.yaml counts; what was sent is shown
	case c.Values != nil:
		next.Values = cloneValues(c.Values)
	case next.Values == nil:
		return next, apron.Faultf(apron.Invalid, "CodeConfigurationValues is required when ConfigurationSource is API.")
	}
	return next, nil
}

func cloneValues(v *apron.CodeConfigurationValues) *apron.CodeConfigurationValues {
	if v == nil {
		return nil
	}
	next := *v
	next.Run = completeRun(next.Run)
	return &next
}

// completeRun returns run with maps of its own and the port every application has by default.
func completeRun(run apron.RunConfiguration) apron.RunConfiguration {
	run.Env, run.Secrets = maps.Clone(run.Env), maps.Clone(run.Secrets)
	if run.Port == "" {
		run.Port = defaultPort
	}
	return run
}

// defaultPort is the Port of a request that names none (API reference, ImageConfiguration).
const defaultPort = "8080"
