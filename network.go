package apron

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// VPCConnector is how a service's outgoing traffic reaches a private network. It is immutable; its
// only revision is 1.
type VPCConnector struct {
	ARN            ARN // full
	Subnets        []string
	SecurityGroups []string // resolved: never empty
	CreatedAt      time.Time
	DeletedAt      time.Time // zero: active
}

// Active reports whether the connector has not been deleted.
func (c VPCConnector) Active() bool { return c.DeletedAt.IsZero() }

// Validate reports subnets and security groups that no connector can have, as an Invalid Fault. A
// scope is one private network, so any subnets of it are in one VPC.
func (c VPCConnector) Validate() error {
	if len(c.Subnets) == 0 {
		return Faultf(Invalid, "A VPC connector needs at least one subnet.")
	}
	if err := checkIDs("subnet", "subnet-", c.Subnets); err != nil {
		return err
	}
	return checkIDs("security group", "sg-", c.SecurityGroups)
}

// DefaultSecurityGroup returns the id of the security group that a VPC connector has when none is
// named: the default one of the scope's network, the same at every call.
func DefaultSecurityGroup(s Scope) string {
	sum := sha256.Sum256([]byte("default security group of " + s.String()))
	return "sg-" + hex.EncodeToString(sum[:])[:17]
}

// checkIDs reports the first of ids that is not one of the kind, or is there twice.
func checkIDs(kind, prefix string, ids []string) error {
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if !isResourceID(prefix, id) {
			return Faultf(Invalid, "Invalid %s ID: %s", kind, clipped(id))
		}
		if seen[id] {
			return Faultf(Invalid, "Duplicate %s ID: %s", kind, id)
		}
		seen[id] = true
	}
	return nil
}

// clipped returns text of a client's for a message, not more than a sensible part of it.
func clipped(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// isResourceID reports whether id is prefix and then 1-64 letters, digits or hyphens: wider than
// EC2's hex digits, for the ids of test environments.
func isResourceID(prefix, id string) bool {
	rest, ok := strings.CutPrefix(id, prefix)
	return ok && rest != "" && len(rest) <= 64 && strings.IndexFunc(strings.ToLower(rest), notHostRune) < 0
}

// VPCIngressStatus is where a VPC ingress connection stands (API shape VpcIngressConnectionStatus).
type VPCIngressStatus string

// The VPC ingress connection statuses.
const (
	VPCIngressAvailable       VPCIngressStatus = "AVAILABLE"
	VPCIngressPendingCreation VPCIngressStatus = "PENDING_CREATION"
	VPCIngressPendingUpdate   VPCIngressStatus = "PENDING_UPDATE"
	VPCIngressPendingDeletion VPCIngressStatus = "PENDING_DELETION"
	VPCIngressFailedCreation  VPCIngressStatus = "FAILED_CREATION"
	VPCIngressFailedUpdate    VPCIngressStatus = "FAILED_UPDATE"
	VPCIngressFailedDeletion  VPCIngressStatus = "FAILED_DELETION"
	VPCIngressDeleted         VPCIngressStatus = "DELETED"
)

// AllowsUpdate reports whether an update may start in status s (API reference,
// UpdateVpcIngressConnection).
func (s VPCIngressStatus) AllowsUpdate() bool {
	return s == VPCIngressAvailable || s == VPCIngressFailedCreation || s == VPCIngressFailedUpdate
}

// AllowsDelete reports whether a delete may start in status s (API reference,
// DeleteVpcIngressConnection).
func (s VPCIngressStatus) AllowsDelete() bool {
	return s.AllowsUpdate() || s == VPCIngressFailedDeletion
}

// CanBecome reports whether a VPC ingress connection may move from s to next. A status may always
// be written again.
func (s VPCIngressStatus) CanBecome(next VPCIngressStatus) bool {
	if s == next {
		return true
	}
	switch next {
	case VPCIngressAvailable:
		return s == VPCIngressPendingCreation || s == VPCIngressPendingUpdate
	case VPCIngressPendingUpdate:
		return s.AllowsUpdate()
	case VPCIngressPendingDeletion:
		return s.AllowsDelete()
	case VPCIngressFailedCreation:
		return s == VPCIngressPendingCreation
	case VPCIngressFailedUpdate:
		return s == VPCIngressPendingUpdate
	case VPCIngressFailedDeletion, VPCIngressDeleted:
		return s == VPCIngressPendingDeletion
	default: // nothing comes back to PENDING_CREATION
		return false
	}
}

// VPCIngressConnection lets one private network reach one private service.
type VPCIngressConnection struct {
	ARN           ARN // full
	Service       ARN // full
	VPCID         string
	VPCEndpointID string
	Host          string // domain name it is reached at; empty until AVAILABLE for the first time
	Status        VPCIngressStatus
	CreatedAt     time.Time
	UpdatedAt     time.Time
	DeletedAt     time.Time // zero unless Status is VPCIngressDeleted
}

// Validate reports a VPC or endpoint that cannot be, as an Invalid Fault. Both are needed, although
// the model calls each optional.
func (c VPCIngressConnection) Validate() error {
	switch {
	case c.VPCID == "" || c.VPCEndpointID == "":
		return Faultf(Invalid, "IngressVpcConfiguration must have both VpcId and VpcEndpointId.")
	case !isResourceID("vpc-", c.VPCID):
		return Faultf(Invalid, "Invalid VPC ID: %s", clipped(c.VPCID))
	case !isResourceID("vpce-", c.VPCEndpointID):
		return Faultf(Invalid, "Invalid VPC endpoint ID: %s", clipped(c.VPCEndpointID))
	}
	return nil
}
