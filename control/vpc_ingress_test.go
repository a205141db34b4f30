package control_test

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
)

func (d *desk) ingress(t *testing.T, name string, svc apron.Service) apron.VPCIngressConnection {
	t.Helper()
	v, err := d.CreateVPCIngressConnection(t.Context(), d.scope, newIngress(name, svc))
	ok(t, err)
	return v
}

func newIngress(name string, svc apron.Service) control.NewVPCIngressConnection {
	return control.NewVPCIngressConnection{Name: name, ServiceARN: svc.ARN().String(), VPCID: "vpc-1", VPCEndpointID: "vpce-1"}
}

func (d *desk) wantIngress(t *testing.T, arn apron.ARN, want apron.VPCIngressStatus) apron.VPCIngressConnection {
	t.Helper()
	v, err := d.VPCIngressConnection(t.Context(), d.scope, arn.String())
	if err != nil || v.Status != want {
		t.Errorf("%s is %s, %v; want %s", arn, v.Status, err, want)
	}
	return v
}

// T80, C5: a VPC ingress connection's life.
func TestVPCIngressConnection(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		svc := d.running(t, "web1", private)
		v := d.ingress(t, "ingress", svc)
		want := apron.VPCIngressConnection{
			ARN:     apron.ARN{Scope: d.scope, Type: apron.ResourceVPCIngressConnection, Name: "ingress", ID: v.ARN.ID},
			Service: svc.ARN(), VPCID: "vpc-1", VPCEndpointID: "vpce-1", Status: apron.VPCIngressPendingCreation,
			CreatedAt: v.CreatedAt, UpdatedAt: v.CreatedAt,
		}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		shown := d.wantIngress(t, v.ARN, apron.VPCIngressPendingCreation)
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("shown (-want +got):\n%s", diff)
		}
		_, err := d.UpdateVPCIngressConnection(ctx, d.scope, v.ARN.String(), "vpc-2", "vpce-2")
		refused(t, err, apron.State, "PENDING_CREATION")
		_, err = d.DeleteVPCIngressConnection(ctx, d.scope, v.ARN.String())
		refused(t, err, apron.State, "PENDING_CREATION")

		if next := d.advance(t); !next.IsZero() {
			t.Errorf("something is due at %s", next)
		}
		host := d.wantIngress(t, v.ARN, apron.VPCIngressAvailable).Host
		if !regexp.MustCompile(`^[a-z0-9]{10}\.us-east-1\.apron\.example\.com$`).MatchString(host) || host == svc.Host {
			t.Errorf("host %q", host)
		}
		_, err = d.UpdateVPCIngressConnection(ctx, d.scope, v.ARN.String(), "vpc-2", "")
		refused(t, err, apron.Invalid, "both")
		updated, err := d.UpdateVPCIngressConnection(ctx, d.scope, v.ARN.String(), "vpc-2", "vpce-2")
		if err != nil || updated.Status != apron.VPCIngressPendingUpdate || updated.VPCID != "vpc-2" || updated.VPCEndpointID != "vpce-2" {
			t.Errorf("updated: %+v, %v", updated, err)
		}
		d.advance(t)
		if got := d.wantIngress(t, v.ARN, apron.VPCIngressAvailable); got.Host != host || got.VPCID != "vpc-2" {
			t.Errorf("after the update: %+v", got)
		}

		_, _, err = d.DeleteService(ctx, d.scope, svc.ARN().String())
		refused(t, err, apron.State, "Service has active VpcIngressConnections")
		deleting, err := d.DeleteVPCIngressConnection(ctx, d.scope, v.ARN.String())
		if err != nil || deleting.Status != apron.VPCIngressPendingDeletion {
			t.Errorf("deleting: %+v, %v", deleting, err)
		}
		_, err = d.DeleteVPCIngressConnection(ctx, d.scope, v.ARN.String())
		refused(t, err, apron.State, "PENDING_DELETION")
		d.advance(t)
		if got := d.wantIngress(t, v.ARN, apron.VPCIngressDeleted); got.DeletedAt.IsZero() {
			t.Errorf("deleted: %+v", got)
		}
		_, err = d.DeleteVPCIngressConnection(ctx, d.scope, v.ARN.String())
		refused(t, err, apron.NotFound, v.ARN.String())
		_, _, err = d.DeleteService(ctx, d.scope, svc.ARN().String())
		ok(t, err)
	})
}

func TestVPCIngressConnectionRefusals(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		public, svc := d.running(t, "public", nil), d.running(t, "web1", private)
		taken := d.running(t, "taken", private)
		d.ingress(t, "ingress", taken)
		paused := d.become(t, d.running(t, "paused", private), apron.ServicePaused)
		deleted := d.become(t, d.running(t, "deleted", private), apron.ServiceDeleted)
		missing := svc
		missing.ID = "0123456789abcdef0123456789abcdef"
		for _, tc := range []struct {
			in   control.NewVPCIngressConnection
			kind apron.FaultKind
			text string
		}{
			{newIngress("other", public), apron.Invalid, "publicly accessible"},
			{newIngress("other", paused), apron.State, "PAUSED"},
			{newIngress("other", deleted), apron.NotFound, deleted.ARN().String()},
			{newIngress("other", missing), apron.NotFound, missing.ARN().String()},
			{newIngress("other", taken), apron.Quota, "1 VPC ingress connections per service"},
			{newIngress("ingress", svc), apron.Invalid, "already exists: ingress"},
			{control.NewVPCIngressConnection{Name: "other", ServiceARN: svc.ARN().String(), VPCID: "vpc-1"}, apron.Invalid, "both"},
		} {
			_, err := d.CreateVPCIngressConnection(ctx, d.scope, tc.in)
			refused(t, err, tc.kind, tc.text)
		}
	})
}

func TestVPCIngressConnections(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		a, b := d.running(t, "service-a", private), d.running(t, "service-b", private)
		first, second := d.ingress(t, "first", a), d.ingress(t, "second", b)
		d.advance(t)
		_, err := d.UpdateVPCIngressConnection(ctx, d.scope, second.ARN.String(), "vpc-1", "vpce-2")
		ok(t, err)
		for _, tc := range []struct {
			filter control.IngressFilter
			want   []apron.ARN
		}{
			{control.IngressFilter{}, []apron.ARN{first.ARN, second.ARN}},
			{control.IngressFilter{ServiceARN: b.ARN().String()}, []apron.ARN{second.ARN}},
			{control.IngressFilter{VPCEndpointID: "vpce-1"}, []apron.ARN{first.ARN}},
			{control.IngressFilter{ServiceARN: b.ARN().String(), VPCEndpointID: "vpce-1"}, nil},
			{control.IngressFilter{ServiceARN: "arn:aws:apprunner:eu-west-1:123456789012:service/web1/0123456789abcdef0123456789abcdef"}, nil},
		} {
			var got []apron.ARN
			page := control.Page{Limit: 1}
			for i := 0; i == 0 || page.After != ""; i++ {
				list, next, err := d.VPCIngressConnections(ctx, d.scope, tc.filter, page)
				ok(t, err)
				page.After = next
				for _, v := range list {
					got = append(got, v.ARN)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%+v (-want +got):\n%s", tc.filter, diff)
			}
		}
	})
}

// What leads to nothing fails, and can be updated once it leads somewhere.
func TestVPCIngressConnectionFails(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		svc := d.running(t, "web1", private)
		v := d.ingress(t, "ingress", svc)
		svc.Config.Network.Public = true
		d.become(t, svc, apron.ServiceRunning)
		d.advance(t)
		d.wantIngress(t, v.ARN, apron.VPCIngressFailedCreation)
		svc.Config.Network.Public = false
		d.become(t, svc, apron.ServiceRunning)
		_, err := d.UpdateVPCIngressConnection(t.Context(), d.scope, v.ARN.String(), "vpc-1", "vpce-1")
		ok(t, err)
		d.advance(t)
		if got := d.wantIngress(t, v.ARN, apron.VPCIngressAvailable); got.Host == "" {
			t.Error("no host")
		}
	})
}
