package control

import (
	"strings"
	"time"

	"apron"
)

// pendingShown is how long a custom domain is at least pending before a simulated validation makes
// it active: longer than clients wait between two looks, because some must see it.
const pendingShown = 10 * time.Second

// nextDomain returns what becomes of an association at now, and when to look at it again; the zero
// time is never. gone says that it is to be removed. It is pure but for the random labels of new
// validation records.
func nextDomain(d apron.CustomDomain, simulate bool, now time.Time) (next apron.CustomDomain, due time.Time, gone bool) {
	switch d.Status {
	case apron.CustomDomainCreating:
		d.Records = newRecords(d)
		d.Status, due = apron.CustomDomainPending, now.Add(apron.ValidationTimeout)
		if simulate {
			due = now.Add(pendingShown)
		}
	case apron.CustomDomainPending, apron.CustomDomainBinding:
		expires := d.CreatedAt.Add(apron.ValidationTimeout)
		switch {
		case simulate && now.Before(d.UpdatedAt.Add(pendingShown)):
			return d, d.UpdatedAt.Add(pendingShown), false
		case simulate:
			d.Status = apron.CustomDomainActive
			d.Records = withStatus(d.Records, apron.RecordSuccess)
		case now.Before(expires):
			return d, expires, false
		default:
			d.Status = apron.CustomDomainCreateFailed
			d.Records = withStatus(d.Records, apron.RecordFailed)
		}
	case apron.CustomDomainDeleting:
		return d, time.Time{}, true
	case apron.CustomDomainActive, apron.CustomDomainCreateFailed, apron.CustomDomainDeleteFailed: // rests
	}
	return d, due, false
}

// newRecords makes the validation records of an association, in the shape AWS Certificate Manager
// gives them: one for the domain, one for www. if it is included, and one for an odd host below it
// that every association on App Runner has. A wildcard is validated at its parent.
func newRecords(d apron.CustomDomain) []apron.ValidationRecord {
	domain := strings.TrimPrefix(d.Key(), "*.")
	hosts := []string{domain}
	if d.EnableWWW {
		hosts = append(hosts, "www."+domain)
	}
	hosts = append(hosts, "2a57j7"+randomText(lettersDigits, 25)+"."+domain)
	records := make([]apron.ValidationRecord, len(hosts))
	for i, host := range hosts {
		records[i] = apron.ValidationRecord{
			Name: "_" + newID() + "." + host + ".", Type: "CNAME",
			Value:  "_" + newID() + "." + randomText(letters, 10) + ".acm-validations.aws.",
			Status: apron.RecordPending,
		}
	}
	return records
}

// withStatus returns the records with another status.
func withStatus(records []apron.ValidationRecord, status string) []apron.ValidationRecord {
	out := make([]apron.ValidationRecord, len(records))
	for i, r := range records {
		out[i] = r
		out[i].Status = status
	}
	return out
}

// BelowLocalhost reports whether services below domain are for this machine alone.
func BelowLocalhost(domain string) bool {
	domain = strings.TrimSuffix(strings.ToLower(domain), ".")
	return domain == "localhost" || strings.HasSuffix(domain, ".localhost")
}

// LocalDomain reports whether a server whose services are below domain is out of reach of public
// DNS, so that validation of custom domains can only be simulated: domain is, or is below, localhost
// or test (RFC 2606, RFC 6761).
func LocalDomain(domain string) bool {
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(domain), "."), ".")
	last := labels[len(labels)-1]
	return last == "localhost" || last == "test"
}
