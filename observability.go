package apron

import "time"

// VendorXRay is the one tracing vendor (API shape TracingVendor).
const VendorXRay = "AWSXRAY"

// ObservabilityConfiguration is one immutable revision of a named observability configuration.
type ObservabilityConfiguration struct {
	ARN       ARN    // full
	Vendor    string // tracing vendor, VendorXRay; empty: tracing is off
	Latest    bool
	CreatedAt time.Time
	DeletedAt time.Time // zero: active
}

// Active reports whether the configuration has not been deleted.
func (c ObservabilityConfiguration) Active() bool { return c.DeletedAt.IsZero() }

// DefaultObservability returns the observability configuration a scope starts with: tracing with
// AWSXRAY, under the well-known ARN that clients such as Copilot send without creating it. Nobody can revise
// or delete it.
func DefaultObservability(s Scope) ObservabilityConfiguration {
	return ObservabilityConfiguration{
		ARN: ARN{
			Scope: s, Type: ResourceObservabilityConfiguration, Name: DefaultConfigurationName,
			Revision: 1, ID: DefaultConfigurationID,
		},
		Vendor: VendorXRay, Latest: true, CreatedAt: time.Unix(1600000000, 0).UTC(),
	}
}
