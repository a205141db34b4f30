package apron

import "time"

// DefaultConfigurationName names the auto scaling and observability configurations every account
// has in every region from the start.
const DefaultConfigurationName = "DefaultConfiguration"

// DefaultConfigurationID is the id of those configurations' first revision, the same everywhere.
const DefaultConfigurationID = "00000000000000000000000000000001"

// AutoScalingConfiguration is one immutable revision of a named auto scaling configuration.
type AutoScalingConfiguration struct {
	ARN            ARN // full
	MaxConcurrency int // requests at a time per instance, 1-200
	MinSize        int // instances always provisioned, 1-25
	MaxSize        int // instances at most
	Latest         bool
	Default        bool // used by services created without one; one per scope
	InUse          bool // at least one service that is not deleted refers to it
	CreatedAt      time.Time
	DeletedAt      time.Time // zero: active
}

// Active reports whether the configuration has not been deleted.
func (c AutoScalingConfiguration) Active() bool { return c.DeletedAt.IsZero() }

// DefaultAutoScaling returns the auto scaling configuration a scope starts with: 100 concurrent
// requests, 1 to 25 instances.
func DefaultAutoScaling(s Scope) AutoScalingConfiguration {
	return AutoScalingConfiguration{
		ARN: ARN{
			Scope: s, Type: ResourceAutoScalingConfiguration, Name: DefaultConfigurationName,
			Revision: 1, ID: DefaultConfigurationID,
		},
		MaxConcurrency: 100, MinSize: 1, MaxSize: 25, Latest: true, Default: true,
		CreatedAt: time.Unix(1600000000, 0).UTC(),
	}
}

// Validate reports sizes that contradict each other, as an Invalid Fault.
func (c AutoScalingConfiguration) Validate() error {
	if c.MinSize > c.MaxSize {
		return Faultf(Invalid, "MinSize (%d) must not be greater than MaxSize (%d).", c.MinSize, c.MaxSize)
	}
	return nil
}
