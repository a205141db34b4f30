package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

// Every type of resource a service can refer to is in use by exactly the services that are not
// deleted, and by what serves while an operation runs.
func TestInUse(t *testing.T) {
	refer := map[apron.ARN]func(*apron.ServiceConfiguration){}
	arn := func(kind apron.ResourceType, revision int) apron.ARN {
		return apron.ARN{Scope: scope, Type: kind, Name: "used", Revision: revision, ID: id(7)}
	}
	asc := arn(apron.ResourceAutoScalingConfiguration, 1)
	refer[asc] = func(c *apron.ServiceConfiguration) { c.AutoScaling = asc }
	obs := arn(apron.ResourceObservabilityConfiguration, 1)
	refer[obs] = func(c *apron.ServiceConfiguration) {
		c.Observability = &apron.ServiceObservability{Enabled: true, Configuration: obs.String()}
	}
	connector := arn(apron.ResourceVPCConnector, 1)
	refer[connector] = func(c *apron.ServiceConfiguration) { c.Network.VPCConnector = connector.String() }
	conn := arn(apron.ResourceConnection, 0)
	refer[conn] = func(c *apron.ServiceConfiguration) { c.Source.ConnectionARN = conn.String() }

	storetest.Each(t, func(t *testing.T, s *store.Store) {
		n := 0
		for arn, refer := range refer {
			n++
			svc := service(n)
			plain := svc.Config
			refer(&svc.Config)
			want := func(when string, want bool) {
				t.Helper()
				got, err := s.InUse(t.Context(), arn)
				if err != nil || got != want {
					t.Errorf("%s %s: in use %v, %v", arn.Type, when, got, err)
				}
			}
			update := func() {
				t.Helper()
				tx(t, s, func(ctx context.Context, t *store.Tx) error { return t.UpdateService(ctx, svc) })
			}
			want("before", false)
			insert(t, s, svc)
			want("in the configuration", true)
			svc.Active = apron.RevisionID(id(100 + n))
			tx(t, s, func(ctx context.Context, t *store.Tx) error {
				_, err := t.InsertRevision(ctx, apron.Revision{ID: svc.Active, Service: svc.ID, Config: svc.Config})
				return err
			})
			svc.Config, svc.Status = plain, apron.ServiceOperationInProgress
			update()
			want("in what serves while an operation runs", true)
			svc.Status = apron.ServiceRunning
			update()
			want("in a revision of the past", false)
			refer(&svc.Config)
			update()
			want("again", true)
			svc.Status = apron.ServiceDeleted
			update()
			want("in a deleted service", false)
		}
	})
}

// The walk's next due time is the earliest of both kinds, and taking what is due in turn.
func TestDue(t *testing.T) {
	clk := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		want := func(want time.Time) {
			t.Helper()
			got, ok, err := s.NextDue(t.Context())
			if err != nil || !got.Equal(want) || ok == want.IsZero() {
				t.Errorf("next due %s, %v, %v; want %s", got, ok, err, want)
			}
		}
		want(time.Time{})
		svc := service(1)
		insert(t, s, svc)
		at := clk.now().Add(time.Hour)
		domain := apron.CustomDomain{Service: svc.ID, Domain: "Example.com", Status: apron.CustomDomainCreating}
		ingress := apron.VPCIngressConnection{
			ARN:     apron.ARN{Scope: scope, Type: apron.ResourceVPCIngressConnection, Name: "ingress", ID: id(9)},
			Service: svc.ARN(), VPCID: "vpc-1", VPCEndpointID: "vpce-1", Status: apron.VPCIngressPendingCreation,
		}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.InsertCustomDomain(ctx, domain, at.Add(time.Minute)), tx.InsertVPCIngressConnection(ctx, ingress, at, nil))
		})
		want(at)
		none := func(ctx context.Context, tx *store.Tx) error {
			_, err := tx.DueVPCIngressConnection(ctx)
			_, err2 := tx.DueCustomDomain(ctx)
			if !errors.Is(err, store.ErrNone) || !errors.Is(err2, store.ErrNone) {
				return fmt.Errorf("due before its time: %w, %w", err, err2)
			}
			return nil
		}
		tx(t, s, none)
		clk.advance(time.Hour + time.Minute)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			v, err := tx.DueVPCIngressConnection(ctx)
			if err != nil || v.ARN != ingress.ARN {
				return fmt.Errorf("due: %s, %w", v.ARN, err)
			}
			v.Host = "host.example.com"
			if err := tx.UpdateVPCIngressConnection(ctx, v, time.Time{}); err != nil {
				return err
			}
			d, err := tx.DueCustomDomain(ctx)
			if err != nil || d.Domain != domain.Domain {
				return fmt.Errorf("due: %s, %w", d.Domain, err)
			}
			d.Records = []apron.ValidationRecord{{Name: "_a.example.com.", Type: "CNAME", Value: "_b.", Status: apron.RecordPending}}
			return tx.UpdateCustomDomain(ctx, d, time.Time{})
		})
		tx(t, s, none)
		want(time.Time{})
		list, _, err := s.CustomDomains(t.Context(), svc.ID, "", 0)
		if err != nil || len(list) != 1 {
			t.Fatalf("domains %v, %v", list, err)
		}
		kept := apron.ValidationRecord{Name: "_a.example.com.", Type: "CNAME", Value: "_b.", Status: apron.RecordPending}
		if diff := cmp.Diff([]apron.ValidationRecord{kept}, list[0].Records); diff != "" || !list[0].UpdatedAt.Equal(list[0].CreatedAt) {
			t.Errorf("updated %s; records (-want +got):\n%s", list[0].UpdatedAt, diff)
		}
		// A host belongs to one.
		second := ingress
		second.ARN.Name, second.ARN.ID = "second", id(10)
		err = s.Tx(t.Context(), func(tx *store.Tx) error {
			if err := tx.InsertVPCIngressConnection(t.Context(), second, time.Time{}, nil); err != nil {
				return err
			}
			second.Host = svc.Host
			return tx.UpdateVPCIngressConnection(t.Context(), second, time.Time{})
		})
		if !errors.Is(err, store.ErrHostTaken) {
			t.Errorf("a service's host: %v", err)
		}
		// The domains of a service go with its row.
		svc.Status = apron.ServiceDeleted
		tx(t, s, func(ctx context.Context, t *store.Tx) error { return t.UpdateService(ctx, svc) })
		clk.advance(time.Hour)
		if n, err := s.Purge(t.Context(), clk.now()); err != nil || n != 1 {
			t.Errorf("purged %d, %v", n, err)
		}
	}, store.WithNow(clk.now))
}

func TestConnectionCredential(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		conn := apron.Connection{
			ARN:      apron.ARN{Scope: apron.Scope{Account: "123456789012", Region: "us-east-1"}, Type: apron.ResourceConnection, Name: "github", ID: "c1"},
			Provider: "GITHUB", Status: apron.ConnectionAvailable, CreatedAt: time.UnixMicro(1).UTC(),
		}
		credential := func() string {
			t.Helper()
			got, sealed, err := s.ConnectionCredential(t.Context(), conn.ARN)
			if diff := cmp.Diff(conn, got); err != nil || diff != "" {
				t.Fatalf("%v; connection (-want +got):\n%s", err, diff)
			}
			return sealed
		}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.InsertConnection(ctx, conn, nil) })
		if got := credential(); got != "" {
			t.Errorf("a new connection has %q", got)
		}
		conn.Hosts = []string{"git.example.com", "[::1]:3000"}
		tx(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.SetConnectionCredential(ctx, conn.ARN, "v1.a.b"), tx.UpdateConnection(ctx, conn))
		})
		if got := credential(); got != "v1.a.b" {
			t.Errorf("got %q", got)
		}
		conn.Status, conn.DeletedAt = apron.ConnectionDeleted, time.UnixMicro(1)
		tx(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.UpdateConnection(ctx, conn) })
		if _, got, err := s.ConnectionCredential(t.Context(), conn.ARN); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a deleted connection has %q, %v", got, err)
		}
		err := s.Tx(t.Context(), func(tx *store.Tx) error { return tx.SetConnectionCredential(t.Context(), conn.ARN, "x") })
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("credential of a deleted connection: %v", err)
		}
	})
}
