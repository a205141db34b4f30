package control_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
)

func (d *desk) observability(t *testing.T, name string) apron.ObservabilityConfiguration {
	t.Helper()
	c, err := d.CreateObservabilityConfiguration(t.Context(), d.scope, control.NewObservabilityConfiguration{Name: name, Vendor: apron.VendorXRay})
	ok(t, err)
	return c
}

func (d *desk) wantObservability(t *testing.T, name string, latest bool, want ...string) {
	t.Helper()
	var got []string
	page := control.Page{Limit: 1}
	for i := 0; i == 0 || page.After != ""; i++ {
		list, next, err := d.ObservabilityConfigurations(t.Context(), d.scope, name, latest, page)
		ok(t, err)
		for _, c := range list {
			got = append(got, fmt.Sprintf("%s/%d", c.ARN.Name, c.ARN.Revision))
		}
		page.After = next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configurations (-want +got):\n%s", diff)
	}
}

// T60, P8: revisions, lists, the configuration every scope has.
func TestObservability(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		d.observability(t, "Able")
		d.observability(t, "xray")
		second := d.observability(t, "xray")
		d.wantObservability(t, "", false, "Able/1", "DefaultConfiguration/1", "xray/2", "xray/1")
		d.wantObservability(t, "", true, "Able/1", "DefaultConfiguration/1", "xray/2")
		d.wantObservability(t, "xray", true, "xray/2")
		d.wantObservability(t, "DefaultConfiguration", true, "DefaultConfiguration/1")
		d.wantObservability(t, "none", true)

		const partial = "arn:aws:apprunner:us-east-1:123456789012:observabilityconfiguration/xray"
		got, err := d.ObservabilityConfiguration(ctx, d.scope, partial)
		ok(t, err)
		if diff := cmp.Diff(second, got); diff != "" {
			t.Errorf("by name (-created +got):\n%s", diff)
		}
		deleted, err := d.DeleteObservabilityConfiguration(ctx, d.scope, partial)
		ok(t, err)
		if deleted.ARN != second.ARN || deleted.Active() || deleted.Latest {
			t.Errorf("deleted: %+v", deleted)
		}
		first, err := d.ObservabilityConfiguration(ctx, d.scope, partial)
		if err != nil || first.ARN.Revision != 1 || !first.Latest {
			t.Errorf("by name after deletion of the latest: %+v, %v", first, err)
		}
		if again := d.observability(t, "xray"); again.ARN.Revision != 2 {
			t.Errorf("revision after deletion of 2: %s", again.ARN)
		}
		shown, err := d.ObservabilityConfiguration(ctx, d.scope, second.ARN.String())
		if diff := cmp.Diff(deleted, shown); diff != "" || err != nil {
			t.Errorf("deleted revision by its full ARN (-deleted +shown), %v:\n%s", err, diff)
		}
		_, err = d.DeleteObservabilityConfiguration(ctx, d.scope, second.ARN.String())
		refused(t, err, apron.NotFound, second.ARN.String())
		_, err = d.elsewhere().ObservabilityConfiguration(ctx, d.elsewhere().scope, second.ARN.String())
		refused(t, err, apron.NotFound, second.ARN.String())
	})
}

func TestObservabilityRefusals(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		_, err := d.CreateObservabilityConfiguration(ctx, d.scope, control.NewObservabilityConfiguration{Name: "DefaultConfiguration"})
		refused(t, err, apron.Invalid, "reserved")
		_, err = d.DeleteObservabilityConfiguration(ctx, d.scope, apron.DefaultObservability(d.scope).ARN.String())
		refused(t, err, apron.Invalid, "default")

		used := d.observability(t, "xray")
		svc := d.running(t, "web1", func(c *apron.ServiceConfiguration) {
			c.Observability = &apron.ServiceObservability{Enabled: true, Configuration: "arn:aws:apprunner:us-east-1:123456789012:observabilityconfiguration/xray"}
		})
		if got := svc.Config.Observability.Configuration; got != used.ARN.String() {
			t.Errorf("service has %s, want the full ARN", got)
		}
		_, err = d.DeleteObservabilityConfiguration(ctx, d.scope, used.ARN.String())
		refused(t, err, apron.Invalid, "in use")
		d.become(t, svc, apron.ServiceDeleted)
		_, err = d.DeleteObservabilityConfiguration(ctx, d.scope, used.ARN.String())
		ok(t, err)

		d.observability(t, "one1")
		_, err = d.CreateObservabilityConfiguration(ctx, d.scope, control.NewObservabilityConfiguration{Name: "one1"})
		refused(t, err, apron.Quota, "1 active revisions")
		_, err = d.CreateObservabilityConfiguration(ctx, d.scope, control.NewObservabilityConfiguration{Name: "two2"})
		refused(t, err, apron.Quota, "1 observability configurations")
	}, func(c *control.Config) {
		c.Quotas = apron.Quotas{ObservabilityConfigurations: 1, ObservabilityRevisions: 1}
	})
}
