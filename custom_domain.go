package apron

import (
	"strings"
	"time"
)

// CustomDomainStatus is where an association stands (API shape CustomDomainAssociationStatus). On
// the wire it is lower case.
type CustomDomainStatus string

// The custom domain association statuses.
const (
	CustomDomainCreating     CustomDomainStatus = "creating"
	CustomDomainCreateFailed CustomDomainStatus = "create_failed"
	CustomDomainActive       CustomDomainStatus = "active"
	CustomDomainDeleting     CustomDomainStatus = "deleting"
	CustomDomainDeleteFailed CustomDomainStatus = "delete_failed"
	CustomDomainPending      CustomDomainStatus = "pending_certificate_dns_validation"
	CustomDomainBinding      CustomDomainStatus = "binding_certificate"
)

// CanBecome reports whether an association may move from s to next. A status may always be written
// again. An association that was deleting and is done exists no longer.
func (s CustomDomainStatus) CanBecome(next CustomDomainStatus) bool {
	if s == next {
		return true
	}
	switch s {
	case CustomDomainCreating:
		return next == CustomDomainPending || next == CustomDomainCreateFailed || next == CustomDomainDeleting
	case CustomDomainPending:
		return next == CustomDomainBinding || next == CustomDomainActive || next == CustomDomainCreateFailed ||
			next == CustomDomainDeleting
	case CustomDomainBinding:
		return next == CustomDomainActive || next == CustomDomainCreateFailed || next == CustomDomainDeleting
	case CustomDomainActive, CustomDomainCreateFailed, CustomDomainDeleteFailed:
		return next == CustomDomainDeleting
	case CustomDomainDeleting:
		return next == CustomDomainDeleteFailed
	default:
		return false
	}
}

// ValidationTimeout is how long the owner of a domain has to set up the validation records.
const ValidationTimeout = 72 * time.Hour

// CustomDomain is a domain name of the user's that leads to a service.
type CustomDomain struct {
	Service   ServiceID
	Domain    string // as the client sent it: a root, a subdomain, or *.<domain>
	EnableWWW bool   // www.<Domain> leads to the service too
	Status    CustomDomainStatus
	Records   []ValidationRecord // nil while creating
	CreatedAt time.Time
	UpdatedAt time.Time // when Status last changed
}

// ValidationRecord is a DNS record the owner of a domain sets up to prove that it is theirs.
type ValidationRecord struct {
	Name   string // ends with a dot
	Type   string // CNAME
	Value  string // ends with a dot
	Status string // one of the Record... values
}

// The statuses of a validation record (API shape CertificateValidationRecordStatus).
const (
	RecordPending = "PENDING_VALIDATION"
	RecordSuccess = "SUCCESS"
	RecordFailed  = "FAILED"
)

// Key returns the domain in the one spelling that tells whether two domains are the same (RFC 4343:
// names do not differ by case).
func (d CustomDomain) Key() string { return strings.ToLower(d.Domain) }

// Wildcard reports whether the domain is of the form *.<domain>.
func (d CustomDomain) Wildcard() bool { return strings.HasPrefix(d.Domain, "*.") }

// Hosts returns the host names that the association claims, in lower case; a wildcard as it is.
func (d CustomDomain) Hosts() []string {
	if d.EnableWWW {
		return []string{d.Key(), "www." + d.Key()}
	}
	return []string{d.Key()}
}

// Validate reports a domain that cannot be associated with any service of a server whose own domain
// is own, as an Invalid Fault: no domain name, a wildcard that App Runner does not take (API
// reference, AssociateCustomDomain), or a name that belongs to the server.
func (d CustomDomain) Validate(own string) error {
	name := strings.TrimPrefix(d.Key(), "*.")
	switch {
	case strings.Contains(name, "*"):
		return Faultf(Invalid, "Invalid domain name: %s. A wildcard must be of the form *.<domain>.", d.Domain)
	case !isDomain(name) || len(name)+len("www.") > maxDomain:
		return Faultf(Invalid, "Invalid domain name: %s", d.Domain)
	case d.Wildcard() && d.EnableWWW:
		return Faultf(Invalid, "EnableWWWSubdomain must be false for the wildcard domain %s.", d.Domain)
	}
	// Below it every service has its default domain: nobody may take another's away.
	own = strings.ToLower(own)
	if name == own || strings.HasSuffix(name, "."+own) {
		return Faultf(Invalid, "Domain %s belongs to this App Runner endpoint and cannot be a custom domain.", d.Domain)
	}
	return nil
}

// Lengths of domain names and their labels (RFC 1035, section 2.3.4).
const (
	maxDomain = 253
	maxLabel  = 63
)

// isDomain reports whether s, in lower case, is a host name of at least two labels (RFC 1123,
// section 2.1) and not an IPv4 address.
func isDomain(s string) bool {
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > maxLabel || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		if strings.IndexFunc(l, notHostRune) >= 0 {
			return false
		}
	}
	return len(labels) >= 2 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

func notHostRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
}
