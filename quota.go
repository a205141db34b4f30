package apron

// Quotas bounds what one account may have in one region (App Runner developer guide, "service
// quotas"). A member that is 0 is no bound. What is deleted does not count.
type Quotas struct {
	Services                    int // in every other state, CREATE_FAILED too
	Connections                 int
	AutoScalingConfigurations   int // names, DefaultConfiguration aside
	AutoScalingRevisions        int // active ones of one name
	MaxSize                     int // highest MaxSize of an auto scaling configuration
	ObservabilityConfigurations int // names, DefaultConfiguration aside
	ObservabilityRevisions      int // active ones of one name
	VPCConnectors               int
	VPCIngressConnections       int // of one service
	CustomDomains               int // of one service
}

// DefaultQuotas returns the quotas Apron has when its operator says nothing: those of App Runner
// that cannot be raised and whose refusal clients are written against. A machine of one's own has
// its own bounds, so the others are off.
func DefaultQuotas() Quotas {
	return Quotas{AutoScalingRevisions: 5, VPCIngressConnections: 1, CustomDomains: 5}
}

// AWSQuotas returns the quotas an account has on App Runner from the start.
func AWSQuotas() Quotas {
	return Quotas{
		Services:                    30,
		Connections:                 10,
		AutoScalingConfigurations:   10,
		AutoScalingRevisions:        5,
		MaxSize:                     25,
		ObservabilityConfigurations: 10,
		ObservabilityRevisions:      10,
		VPCConnectors:               10,
		VPCIngressConnections:       1,
		CustomDomains:               5,
	}
}

// OverQuota returns a Quota Fault if somebody who has a number of things may not have one more. what
// is their plural, for the message; a limit of 0 is none.
func OverQuota(limit, have int, what string) error {
	if limit <= 0 || have < limit {
		return nil
	}
	return Faultf(Quota, "You have reached the quota of %d %s.", limit, what)
}
