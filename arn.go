package apron

import (
	"fmt"
	"strconv"
	"strings"
)

// Scope is the namespace a resource lives in. Names in two scopes never meet.
type Scope struct {
	Account string // 12 decimal digits
	Region  string // any region name a client signs for, e.g. us-east-1
}

// String returns account/region, for logs and keys.
func (s Scope) String() string { return s.Account + "/" + s.Region }

// ValidRegion reports whether s can be the name of a region. Any name can that is also a label of a
// host name (RFC 1123, 2.1), in lower case: services' default domains have it in them.
func ValidRegion(s string) bool {
	if len(s) < 1 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
	}) < 0
}

// Partition returns the ARN partition of the scope's region (aws, aws-cn or aws-us-gov).
func (s Scope) Partition() string {
	switch {
	case strings.HasPrefix(s.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(s.Region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// ResourceType is the first part of an App Runner ARN's resource.
type ResourceType string

// The resource types of App Runner ARNs.
const (
	ResourceService                    ResourceType = "service"
	ResourceConnection                 ResourceType = "connection"
	ResourceAutoScalingConfiguration   ResourceType = "autoscalingconfiguration"
	ResourceObservabilityConfiguration ResourceType = "observabilityconfiguration"
	ResourceVPCConnector               ResourceType = "vpcconnector"
	ResourceVPCIngressConnection       ResourceType = "vpcingressconnection"
)

// revisioned reports whether ARNs of the type carry a revision number between name and id.
func (t ResourceType) revisioned() bool {
	return t == ResourceAutoScalingConfiguration || t == ResourceObservabilityConfiguration || t == ResourceVPCConnector
}

func (t ResourceType) known() bool {
	switch t {
	case ResourceService, ResourceConnection, ResourceAutoScalingConfiguration,
		ResourceObservabilityConfiguration, ResourceVPCConnector, ResourceVPCIngressConnection:
		return true
	}
	return false
}

// ARN names one App Runner resource (App Runner API reference, "ARN"):
// arn:<partition>:apprunner:<region>:<account>:<type>/<name>[/<revision>][/<id>].
//
// A partial ARN leaves out ID, and also Revision where the type has one; only auto scaling and
// observability configurations may be named that way.
type ARN struct {
	Scope    Scope
	Type     ResourceType
	Name     string
	Revision int    // 0: absent
	ID       string // 32 lower-case hex digits; empty: absent
}

// maxARN is the length limit of the model's AppRunnerResourceArn.
const maxARN = 1011

// ParseARN reads an App Runner ARN, full or partial. Its error is an Invalid Fault.
func ParseARN(s string) (ARN, error) {
	parts := strings.SplitN(s, ":", 6)
	if len(s) > maxARN || len(parts) != 6 || parts[0] != "arn" || !strings.HasPrefix(parts[1], "aws") ||
		parts[2] != "apprunner" || !isAccount(parts[4]) {
		return ARN{}, badARN(s)
	}
	arn := ARN{Scope: Scope{Account: parts[4], Region: parts[3]}}
	if arn.Scope.Partition() != parts[1] {
		return ARN{}, badARN(s)
	}
	res := strings.Split(parts[5], "/")
	arn.Type = ResourceType(res[0])
	if !arn.Type.known() || len(res) < 2 || res[1] == "" {
		return ARN{}, badARN(s)
	}
	arn.Name = res[1]
	rest := res[2:]
	if arn.Type.revisioned() && len(rest) > 0 {
		n, err := strconv.Atoi(rest[0])
		if err != nil || n < 1 || strconv.Itoa(n) != rest[0] {
			return ARN{}, badARN(s)
		}
		arn.Revision, rest = n, rest[1:]
	}
	switch {
	case len(rest) == 1 && rest[0] != "":
		arn.ID = rest[0]
	case len(rest) != 0:
		return ARN{}, badARN(s)
	}
	return arn, nil
}

func badARN(s string) error {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return Faultf(Invalid, "Invalid ARN: %s", s)
}

func isAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// Partial reports whether a lacks the id that makes it name one resource for good.
func (a ARN) Partial() bool { return a.ID == "" }

// String formats a as it appears on the wire.
func (a ARN) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "arn:%s:apprunner:%s:%s:%s/%s", a.Scope.Partition(), a.Scope.Region, a.Scope.Account, a.Type, a.Name)
	if a.Revision > 0 {
		fmt.Fprintf(&b, "/%d", a.Revision)
	}
	if a.ID != "" {
		b.WriteString("/" + a.ID)
	}
	return b.String()
}
