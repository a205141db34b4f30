package control_test

import (
	"errors"
	"net/url"
	"strings"
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
		_, err = d.CompleteConnection(ctx, d.scope, "none", control.Completion{})
		refused(t, err, apron.NotFound, "none")
		for range 2 {
			conn, err = d.CompleteConnection(ctx, d.scope, "github", control.Completion{})
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

// A connection is for its provider's host, or those its owner named, and a service elsewhere is refused it.
func TestConnectionHosts(t *testing.T) {
	domain := map[string]bool{"apron.example.com": false, "localhost": true, "web.localhost": true, "apron.test": false}
	for name, local := range domain {
		t.Run(name, func(t *testing.T) {
			eachDesk(t, func(t *testing.T, d *desk) {
				ctx := t.Context()
				conn, err := d.CreateConnection(ctx, d.scope, control.NewConnection{Name: "github", Provider: "GITHUB"})
				ok(t, err)
				_, err = d.CompleteConnection(ctx, d.scope, "github", control.Completion{})
				ok(t, err)
				at := func(address string) func(*apron.ServiceConfiguration) {
					return func(c *apron.ServiceConfiguration) {
						c.Source = codeConfiguration().Source
						c.Source.ConnectionARN, c.Source.Code.URL = conn.ARN.String(), address
					}
				}
				svc := d.running(t, "web1", at("https://github.com/team/web"))
				const elsewhere = "https://evil.example.com/team/web"
				_, err = d.create(ctx, "web2", at(elsewhere))
				refused(t, err, apron.Invalid, conn.ARN.String()+" cannot be used with a repository at evil.example.com: it is for github.com")
				_, err = d.create(ctx, "web2", at("https://%zz/"))
				refused(t, err, apron.Invalid, "not a URL")
				for _, address := range []string{"http://127.0.0.1:3000/web", "http://localhost:3000/web"} {
					if _, err = d.create(ctx, "at-"+address[7:10], at(address)); local {
						ok(t, err)
					} else {
						refused(t, err, apron.Invalid, "it is for github.com")
					}
				}
				_, err = d.create(ctx, "hosted", at("https://apron.example.com/git/web.git"))
				ok(t, err)
				_, err = d.create(ctx, "keyed", at("ssh://git@evil.example.com/team/web"))
				ok(t, err)
				_, _, err = d.UpdateService(ctx, d.scope, svc.ARN().String(), patchOf(moved(svc.Config, elsewhere)), nil)
				refused(t, err, apron.Invalid, "evil.example.com")

				// What its owner names takes the place of the provider's.
				_, err = d.CompleteConnection(ctx, d.scope, "github", control.Completion{Hosts: []string{"https://evil.example.com"}})
				refused(t, err, apron.Invalid, "is no host")
				for _, hosts := range [][]string{{"Evil.example.com", "git.example.com:8443"}, nil} {
					conn, err := d.CompleteConnection(ctx, d.scope, "github", control.Completion{Hosts: hosts})
					if err != nil || conn.TokenHosts(local).String() != "evil.example.com, git.example.com:8443" {
						t.Errorf("it is for %s, %v", conn.TokenHosts(local), err)
					}
				}
				_, _, err = d.UpdateService(ctx, d.scope, svc.ARN().String(), patchOf(moved(svc.Config, "https://github.com/team/other")), nil)
				refused(t, err, apron.Invalid, "it is for evil.example.com, git.example.com:8443")
				_, _, err = d.UpdateService(ctx, d.scope, svc.ARN().String(), patchOf(moved(svc.Config, elsewhere)), nil)
				ok(t, err)
			}, func(c *control.Config) {
				c.Domain = name
				c.Hosts = func(account string, u *url.URL) bool {
					return account == "123456789012" && u.Host == "apron.example.com" && u.Path == "/git/web.git"
				}
			})
		})
	}
}

// moved is a configuration with the repository somewhere else.
func moved(c apron.ServiceConfiguration, address string) apron.ServiceConfiguration {
	code := *c.Source.Code
	code.URL = address
	c.Source.Code = &code
	return c
}

// A credential that cannot be sealed changes nothing, and one is stored together with its hosts.
func TestCompletion(t *testing.T) {
	eachDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		conn, err := d.CreateConnection(ctx, d.scope, control.NewConnection{Name: "github", Provider: "GITHUB"})
		ok(t, err)
		in := control.Completion{Hosts: []string{"git.example.com"}, Seal: func(arn apron.ARN) (string, error) {
			if arn != conn.ARN {
				t.Errorf("sealed for %s", arn)
			}
			return "", errors.New("no keys")
		}}
		if _, err := d.CompleteConnection(ctx, d.scope, "github", in); err == nil || !strings.Contains(err.Error(), "no keys") {
			t.Errorf("got %v", err)
		}
		d.wantConnections(t, "", conn)
		in.Seal = func(apron.ARN) (string, error) { return "sealed", nil }
		want, err := d.CompleteConnection(ctx, d.scope, "github", in)
		ok(t, err)
		if got, sealed, err := d.store.ConnectionCredential(ctx, conn.ARN); err != nil || sealed != "sealed" || !cmp.Equal(got, want) || len(got.Hosts) != 1 {
			t.Errorf("stored %+v, %q, %v", got, sealed, err)
		}
	})
}
