package control_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
)

// T70, T71: a VPC connector's life.
func TestVPCConnector(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		connector, err := d.CreateVPCConnector(ctx, d.scope, control.NewVPCConnector{Name: "network", Subnets: []string{"subnet-0a", "subnet-0b"}})
		ok(t, err)
		want := apron.VPCConnector{
			ARN:            apron.ARN{Scope: d.scope, Type: apron.ResourceVPCConnector, Name: "network", Revision: 1, ID: connector.ARN.ID},
			Subnets:        []string{"subnet-0a", "subnet-0b"},
			SecurityGroups: []string{apron.DefaultSecurityGroup(d.scope)}, CreatedAt: connector.CreatedAt,
		}
		if diff := cmp.Diff(want, connector); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		shown, err := d.VPCConnector(ctx, d.scope, connector.ARN.String())
		if diff := cmp.Diff(want, shown); diff != "" || err != nil {
			t.Errorf("shown (-want +got), %v:\n%s", err, diff)
		}
		_, err = d.CreateVPCConnector(ctx, d.scope, control.NewVPCConnector{Name: "network", Subnets: []string{"subnet-1"}})
		refused(t, err, apron.Invalid, "already exists: network")
		_, err = d.CreateVPCConnector(ctx, d.scope, control.NewVPCConnector{Name: "network2"})
		refused(t, err, apron.Invalid, "at least one subnet")
		second, err := d.CreateVPCConnector(ctx, d.scope, control.NewVPCConnector{Name: "network2", Subnets: []string{"subnet-1"}, SecurityGroups: []string{"sg-2", "sg-1"}})
		ok(t, err)
		_, err = d.CreateVPCConnector(ctx, d.scope, control.NewVPCConnector{Name: "network3", Subnets: []string{"subnet-1"}})
		refused(t, err, apron.Quota, "2 VPC connectors")
		d.wantConnectors(t, connector, second)

		_, err = d.VPCConnector(ctx, d.scope, "arn:aws:apprunner:us-east-1:123456789012:vpcconnector/network")
		refused(t, err, apron.Invalid, "ARN")
		use := func(c *apron.ServiceConfiguration) { c.Network.VPCConnector = connector.ARN.String() }
		svc := d.running(t, "web1", use)
		_, err = d.DeleteVPCConnector(ctx, d.scope, connector.ARN.String())
		refused(t, err, apron.Invalid, "in use")
		d.become(t, svc, apron.ServiceDeleted)
		deleted, err := d.DeleteVPCConnector(ctx, d.scope, connector.ARN.String())
		if err != nil || deleted.Active() {
			t.Errorf("deleted: %+v, %v", deleted, err)
		}
		shown, err = d.VPCConnector(ctx, d.scope, connector.ARN.String())
		if diff := cmp.Diff(deleted, shown); diff != "" || err != nil {
			t.Errorf("shown after deletion (-deleted +shown), %v:\n%s", err, diff)
		}
		_, err = d.DeleteVPCConnector(ctx, d.scope, connector.ARN.String())
		refused(t, err, apron.NotFound, connector.ARN.String())
		_, err = d.create(ctx, "web2", use)
		refused(t, err, apron.NotFound, connector.ARN.String())
		d.wantConnectors(t, second)

		n, err := d.store.PurgeConfigurations(ctx, d.clock.now())
		if err != nil || n != 1 {
			t.Errorf("purged %d, %v", n, err)
		}
		_, err = d.VPCConnector(ctx, d.scope, connector.ARN.String())
		refused(t, err, apron.NotFound, connector.ARN.String())
	}, func(c *control.Config) { c.Quotas.VPCConnectors = 2 })
}

func (d *desk) wantConnectors(t *testing.T, want ...apron.VPCConnector) {
	t.Helper()
	var got []apron.VPCConnector
	page := control.Page{Limit: 1}
	for i := 0; i == 0 || page.After != ""; i++ {
		list, next, err := d.VPCConnectors(t.Context(), d.scope, page)
		ok(t, err)
		got, page.After = append(got, list...), next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("connectors (-want +got):\n%s", diff)
	}
}
