package control_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
)

// T40-T43: a connection's life.
func TestConnection(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		in := control.NewConnection{Name: "github", Provider: "GITHUB", Tags: []apron.Tag{{Key: "team", Value: "a"}}}
		conn, err := d.CreateConnection(ctx, d.scope, in)
		ok(t, err)
		want := apron.Connection{
			ARN:      apron.ARN{Scope: d.scope, Type: apron.ResourceConnection, Name: "github", ID: conn.ARN.ID},
			Provider: "GITHUB", Status: apron.ConnectionPendingHandshake, CreatedAt: conn.CreatedAt,
		}
		if diff := cmp.Diff(want, conn); diff != "" {
			t.Errorf("created (-want +got):\n%s", diff)
		}
		_, err = d.CreateConnection(ctx, d.scope, in)
		refused(t, err, apron.Invalid, "already exists: github")
		other, err := d.CreateConnection(ctx, d.scope, control.NewConnection{Name: "bitbucket", Provider: "BITBUCKET"})
		ok(t, err)
		d.wantConnections(t, "", conn, other)
		d.wantConnections(t, "github", conn)
		d.wantConnections(t, "none")
		d.elsewhere().wantConnections(t, "")

		use := func(c *apron.ServiceConfiguration) { c.Source.ConnectionARN = conn.ARN.String() }
		_, err = d.create(ctx, "web1", use)
		refused(t, err, apron.Invalid, "PENDING_HANDSHAKE")
		_, err = d.CompleteConnection(ctx, d.scope, "none")
		refused(t, err, apron.NotFound, "none")
		for range 2 {
			conn, err = d.CompleteConnection(ctx, d.scope, "github")
			if err != nil || conn.Status != apron.ConnectionAvailable {
				t.Errorf("completed: %+v, %v", conn, err)
			}
		}
		d.wantConnections(t, "github", conn)
		svc := d.running(t, "web1", use)
		_, err = d.DeleteConnection(ctx, d.scope, conn.ARN.String())
		refused(t, err, apron.Invalid, "in use")
		d.become(t, svc, apron.ServiceDeleted)
		gone, err := d.DeleteConnection(ctx, d.scope, conn.ARN.String())
		if err != nil || gone.Status != apron.ConnectionDeleted || gone.DeletedAt.IsZero() {
			t.Errorf("deleted: %+v, %v", gone, err)
		}
		d.wantConnections(t, "", other)
		_, err = d.DeleteConnection(ctx, d.scope, conn.ARN.String())
		refused(t, err, apron.NotFound, conn.ARN.String())
		_, err = d.create(ctx, "web2", use)
		refused(t, err, apron.NotFound, conn.ARN.String())
		_, err = d.CreateConnection(ctx, d.scope, in)
		ok(t, err)
		_, err = d.CreateConnection(ctx, d.scope, control.NewConnection{Name: "third", Provider: "GITHUB"})
		refused(t, err, apron.Quota, "2 connections")
	}, func(c *control.Config) { c.Quotas.Connections = 2 })
}

func (d *desk) wantConnections(t *testing.T, name string, want ...apron.Connection) {
	t.Helper()
	var got []apron.Connection
	page := control.Page{Limit: 1}
	for i := 0; i == 0 || page.After != ""; i++ {
		list, next, err := d.Connections(t.Context(), d.scope, name, page)
		ok(t, err)
		got, page.After = append(got, list...), next
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("connections (-want +got):\n%s", diff)
	}
}

// Of concurrent creates of one name exactly one succeeds, and the others say why.
func TestConnectionNameConcurrency(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		const n = 8
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			wg.Go(func() {
				_, errs[i] = d.CreateConnection(t.Context(), d.scope, control.NewConnection{Name: "github", Provider: "GITHUB"})
			})
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
				continue
			}
			refused(t, err, apron.Invalid, "already exists")
		}
		if made != 1 {
			t.Errorf("%d were made", made)
		}
	})
}
