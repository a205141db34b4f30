package control_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apron"
	"apron/control"
)

// domain returns what is shown of one of a service's domains; the zero value if it is not there.
func (d *desk) domain(t *testing.T, svc apron.Service, name string) apron.CustomDomain {
	t.Helper()
	for _, c := range d.domains(t, svc) {
		if c.Domain == name {
			return c
		}
	}
	return apron.CustomDomain{}
}

func (d *desk) domains(t *testing.T, svc apron.Service) []apron.CustomDomain {
	t.Helper()
	var list []apron.CustomDomain
	page := control.Page{Limit: 2}
	for i := 0; i == 0 || page.After != ""; i++ {
		out, next, err := d.CustomDomains(t.Context(), d.scope, svc.ARN().String(), page)
		ok(t, err)
		if out.Service.Host != svc.Host {
			t.Errorf("DNS target %q, want %q", out.Service.Host, svc.Host)
		}
		list, page.After = append(list, out.Domains...), next
	}
	return list
}

func (d *desk) associate(t *testing.T, svc apron.Service, domain string, www bool) apron.CustomDomain {
	t.Helper()
	out, err := d.AssociateCustomDomain(t.Context(), d.scope, svc.ARN().String(), domain, www)
	ok(t, err)
	return out.Domains[0]
}

// T50-T53, P6, P7: the walk of a domain where validation is simulated.
func TestCustomDomainWalk(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		svc := d.running(t, "web1", nil)
		if got := d.domains(t, svc); len(got) != 0 {
			t.Errorf("domains of a new service: %v", got)
		}
		made := d.associate(t, svc, "Shop.Example.com", true)
		want := apron.CustomDomain{
			Service: svc.ID, Domain: "Shop.Example.com", EnableWWW: true, Status: apron.CustomDomainCreating,
			CreatedAt: made.CreatedAt, UpdatedAt: made.CreatedAt,
		}
		if diff := cmp.Diff(want, made); diff != "" {
			t.Errorf("associated (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, d.domain(t, svc, "Shop.Example.com")); diff != "" {
			t.Errorf("shown (-want +got):\n%s", diff)
		}

		next := d.advance(t)
		pending := d.domain(t, svc, "Shop.Example.com")
		if pending.Status != apron.CustomDomainPending || next.Sub(pending.UpdatedAt) < 10*time.Second {
			t.Errorf("is %s until %s", pending.Status, next)
		}
		wantRecords(t, pending.Records, apron.RecordPending, "shop.example.com.", "www.shop.example.com.", "odd.shop.example.com.")
		d.advance(t)
		if diff := cmp.Diff(pending, d.domain(t, svc, "Shop.Example.com")); diff != "" {
			t.Errorf("changed before it was due:\n%s", diff)
		}
		d.clock.advance(10 * time.Second)
		if next := d.advance(t); !next.IsZero() {
			t.Errorf("something is due at %s", next)
		}
		active := d.domain(t, svc, "Shop.Example.com")
		wantRecords(t, active.Records, apron.RecordSuccess, "shop.example.com.", "www.shop.example.com.", "odd.shop.example.com.")
		same := cmpopts.IgnoreFields(apron.ValidationRecord{}, "Status")
		if diff := cmp.Diff(pending.Records, active.Records, same); diff != "" || active.Status != apron.CustomDomainActive {
			t.Errorf("is %s; records (-pending +active):\n%s", active.Status, diff)
		}

		out, err := d.DisassociateCustomDomain(ctx, d.scope, svc.ARN().String(), "shop.example.com")
		ok(t, err)
		if got := out.Domains[0]; got.Status != apron.CustomDomainDeleting || len(got.Records) != 3 {
			t.Errorf("disassociated: %+v", got)
		}
		if got := d.domain(t, svc, "Shop.Example.com"); got.Status != apron.CustomDomainDeleting {
			t.Errorf("shown: %+v", got)
		}
		d.advance(t)
		if got := d.domains(t, svc); len(got) != 0 {
			t.Errorf("domains at the end: %v", got)
		}
		_, err = d.DisassociateCustomDomain(ctx, d.scope, svc.ARN().String(), "shop.example.com")
		refused(t, err, apron.Invalid, "No custom domain shop.example.com found for the provided service")
	})
}

// wantRecords checks validation records: the hosts they are for (odd stands for the host that every
// association has), their shape and status.
func wantRecords(t *testing.T, records []apron.ValidationRecord, status string, hosts ...string) {
	t.Helper()
	if len(records) != len(hosts) {
		t.Fatalf("%d records, want %d", len(records), len(hosts))
	}
	value := regexp.MustCompile(`^_[0-9a-f]{32}\.[a-z]{10}\.acm-validations\.aws\.$`)
	for i, r := range records {
		host := regexp.QuoteMeta(hosts[i])
		host = strings.Replace(host, `odd\.`, `2a57j7[a-z0-9]{25}\.`, 1)
		if !regexp.MustCompile(`^_[0-9a-f]{32}\.`+host+`$`).MatchString(r.Name) || !value.MatchString(r.Value) || r.Type != "CNAME" || r.Status != status {
			t.Errorf("record for %s: %+v", hosts[i], r)
		}
	}
}

// Where nothing is simulated a domain waits for its owner, and fails when nobody came.
func TestCustomDomainTimesOut(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		svc := d.running(t, "web1", nil)
		d.associate(t, svc, "*.example.com", false)
		d.advance(t)
		d.clock.advance(71 * time.Hour)
		d.advance(t)
		got := d.domain(t, svc, "*.example.com")
		if got.Status != apron.CustomDomainPending {
			t.Errorf("is %s", got.Status)
		}
		wantRecords(t, got.Records, apron.RecordPending, "example.com.", "odd.example.com.")
		d.clock.advance(time.Hour)
		if next := d.advance(t); !next.IsZero() {
			t.Errorf("something is due at %s", next)
		}
		got = d.domain(t, svc, "*.example.com")
		if got.Status != apron.CustomDomainCreateFailed {
			t.Errorf("is %s", got.Status)
		}
		wantRecords(t, got.Records, apron.RecordFailed, "example.com.", "odd.example.com.")
	}, func(c *control.Config) { c.SimulateValidation = false })
}

func TestCustomDomainRefusals(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		svc, second := d.running(t, "web1", nil), d.running(t, "web2", nil)
		foreign := d.elsewhere()
		theirs := foreign.running(t, "web1", nil)
		d.associate(t, svc, "example.com", true)
		foreign.associate(t, theirs, "www.example.org", false)
		paused := d.become(t, d.running(t, "paused", nil), apron.ServicePaused)
		busy := d.become(t, d.running(t, "busy1", nil), apron.ServiceOperationInProgress)
		for _, tc := range []struct {
			svc    apron.Service
			domain string
			www    bool
			kind   apron.FaultKind
			text   string
		}{
			{svc, "example.com", true, apron.Invalid, "example.com is already associated with service " + svc.ARN().String()},
			{second, "EXAMPLE.com", false, apron.Invalid, "EXAMPLE.com is already associated with service " + svc.ARN().String()},
			{second, "www.example.com", false, apron.Invalid, "www.example.com is already associated with service"},
			{second, "www.example.org", false, apron.Invalid, "www.example.org is already associated with another service."},
			{second, "example.org", true, apron.Invalid, "example.org is already associated with another service."},
			{second, "*.example.net", true, apron.Invalid, "EnableWWWSubdomain"},
			{second, "login*.example.net", false, apron.Invalid, "*.<domain>"},
			{second, "www.apron.example.com", false, apron.Invalid, "belongs to"},
			{second, "localhost", false, apron.Invalid, "Invalid domain name"},
			{paused, "example.net", false, apron.State, "PAUSED"},
			{busy, "example.net", false, apron.State, "OPERATION_IN_PROGRESS"},
			{theirs, "example.net", false, apron.NotFound, theirs.ARN().String()},
		} {
			_, err := d.AssociateCustomDomain(ctx, d.scope, tc.svc.ARN().String(), tc.domain, tc.www)
			refused(t, err, tc.kind, tc.text)
		}
		_, err := d.DisassociateCustomDomain(ctx, d.scope, paused.ARN().String(), "example.net")
		refused(t, err, apron.State, "PAUSED")
		_, err = d.DisassociateCustomDomain(ctx, d.scope, second.ARN().String(), "example.com")
		refused(t, err, apron.Invalid, "No custom domain example.com found for the provided service")
		d.associate(t, second, "example.org", false) // without www. it is free
	})
}

// A deleted service gives its domains up at once.
func TestCustomDomainOfDeletedService(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		svc, next := d.running(t, "web1", nil), d.running(t, "web2", nil)
		d.associate(t, svc, "example.com", true)
		d.associate(t, svc, "example.org", true)
		d.advance(t)
		d.become(t, svc, apron.ServiceDeleted)
		if got := d.domains(t, svc); len(got) != 0 {
			t.Errorf("domains of a deleted service: %v", got)
		}
		d.associate(t, next, "example.com", true)
		d.associate(t, next, "www.example.org", false)
		d.clock.advance(10 * time.Second)
		d.advance(t)
		d.clock.advance(10 * time.Second)
		if due := d.advance(t); !due.IsZero() {
			t.Errorf("something is due at %s", due)
		}
		if got := d.domain(t, next, "example.com"); got.Status != apron.CustomDomainActive {
			t.Errorf("domain of the next service: %+v", got)
		}
	})
}

// Newest first over pages, the quota, and the targets for a private service.
func TestCustomDomains(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		svc := d.running(t, "web1", private)
		want := []string{}
		for i := range 5 {
			domain := fmt.Sprintf("d%d.example.com", i)
			d.associate(t, svc, domain, false)
			want = append([]string{domain}, want...)
		}
		_, err := d.AssociateCustomDomain(t.Context(), d.scope, svc.ARN().String(), "d5.example.com", false)
		refused(t, err, apron.Quota, "5 custom domains per service")
		got := []string{}
		for _, c := range d.domains(t, svc) {
			got = append(got, c.Domain)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("domains (-want +got):\n%s", diff)
		}
		v := d.ingress(t, "ingress", svc)
		d.advance(t)
		out, err := d.DisassociateCustomDomain(t.Context(), d.scope, svc.ARN().String(), "d0.example.com")
		ok(t, err)
		if len(out.Ingress) != 1 || out.Ingress[0].ARN != v.ARN || out.Ingress[0].Host == "" || out.Ingress[0].VPCID != "vpc-1" {
			t.Errorf("targets: %+v", out.Ingress)
		}
		d.associate(t, svc, "d5.example.com", false)
	})
}

func TestLocalDomain(t *testing.T) {
	for domain, want := range map[string]bool{
		"apron.localhost": true, "localhost": true, "a.b.test.": true, "apron.Test": true,
		"example.com": false, "localhost.example.com": false, "mytest": false, "": false,
	} {
		if got := control.LocalDomain(domain); got != want {
			t.Errorf("%q: got %v", domain, got)
		}
	}
}
