package control_test

import (
	"context"
	"errors"
	"testing"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

// automatic and manual switch automatic deployments on and off.
func automatic(c *apron.ServiceConfiguration) { c.Source.AutoDeployments = true }
func manual(c *apron.ServiceConfiguration)    { c.Source.AutoDeployments = false }

// runs is the digest that newLifecycle's service runs.
var runs = servingImage().Digest

func (l *lifecycle) push(t *testing.T) store.Push {
	t.Helper()
	p, err := l.store.Push(t.Context(), l.id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Every state, told of a push and looked at.
func TestAutoDeploy(t *testing.T) {
	const news, old = "sha256:news", "sha256:old"
	tests := []struct {
		name    string
		status  apron.ServiceStatus
		known   store.Push
		version string
		told    bool // AutoDeploy, else Noticed
		want    store.Push
		begins  bool
	}{
		{"a push", apron.ServiceRunning, store.Push{}, news, true, store.Push{Version: news}, true},
		{"a look", apron.ServiceRunning, store.Push{Version: runs}, news, false, store.Push{Version: news}, true},
		{"a push of what runs", apron.ServiceRunning, store.Push{}, runs, true, store.Push{Version: runs}, false},
		{"a look at what runs", apron.ServiceRunning, store.Push{}, runs, false, store.Push{Version: runs}, false},
		{"back to what runs", apron.ServiceRunning, store.Push{Version: old}, runs, true, store.Push{Version: runs}, false},
		{"a look at what failed", apron.ServiceRunning, store.Push{Version: old}, old, false, store.Push{Version: old}, false},
		{"another push of what failed", apron.ServiceRunning, store.Push{Version: old}, old, true, store.Push{Version: old}, true},
		{"during an operation", apron.ServiceOperationInProgress, store.Push{Version: old}, news, true, store.Push{Version: news, Pending: true}, false},
		{"twice during an operation", apron.ServiceOperationInProgress, store.Push{Version: old, Pending: true}, news, true, store.Push{Version: news, Pending: true}, false},
		{"what the operation deploys", apron.ServiceOperationInProgress, store.Push{Version: news}, news, true, store.Push{Version: news}, false},
		{"a look during an operation", apron.ServiceOperationInProgress, store.Push{Version: old}, news, false, store.Push{Version: news, Pending: true}, false},
		{"paused", apron.ServicePaused, store.Push{Version: runs}, news, true, store.Push{Version: news}, false},
		{"create failed", apron.ServiceCreateFailed, store.Push{}, news, true, store.Push{Version: news}, false},
		{"delete failed", apron.ServiceDeleteFailed, store.Push{}, news, false, store.Push{Version: news}, false},
		{"deleted", apron.ServiceDeleted, store.Push{}, news, true, store.Push{Version: news}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLifecycle(t, storetest.Open(t), tt.status, automatic)
			if tt.status == apron.ServiceOperationInProgress {
				l.write(t, func(svc *apron.Service) { svc.Active = l.revisions(t)[0].ID })
			}
			l.tx(t, func(tx *store.Tx) error { return tx.SetPush(t.Context(), l.id, tt.known) })
			before, tell := l.service(t), l.Noticed
			if tt.told {
				tell = l.AutoDeploy
			}
			op, err := tell(t.Context(), l.id, tt.version)
			if err != nil {
				t.Fatal(err)
			}
			if got := l.push(t); got != tt.want {
				t.Errorf("known is %+v, want %+v", got, tt.want)
			}
			if !tt.begins {
				l.wantUntouched(t, before)
				return
			}
			l.wantBegun(t, op, apron.OperationStartDeployment, l.service(t).Candidate)
			if rev := l.revision(t, l.service(t).Candidate); !rev.Image.IsZero() {
				t.Errorf("the image is decided: %+v", rev.Image)
			}
		})
	}
}

func (l *lifecycle) revisions(t *testing.T) []apron.Revision {
	t.Helper()
	list, err := l.store.Revisions(t.Context(), l.id)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestAutoDeployOfOthers(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, manual)
	before := l.service(t)
	for _, id := range []apron.ServiceID{l.id, "none"} {
		if op, err := l.AutoDeploy(t.Context(), id, "sha256:news"); op != "" || err != nil {
			t.Errorf("%s: %q, %v", id, op, err)
		}
	}
	l.wantUntouched(t, before)
	if got := l.push(t); got != (store.Push{}) {
		t.Errorf("known is %+v", got)
	}
}

// What waited for an operation is deployed after it, if the service has not got it by then, runs, and
// still wants to.
func TestDeployPushes(t *testing.T) {
	const news = "sha256:news"
	tests := map[string]struct {
		status  apron.ServiceStatus
		version string
		change  func(*apron.ServiceConfiguration)
		begins  bool
	}{
		"running":                 {apron.ServiceRunning, news, automatic, true},
		"running it already":      {apron.ServiceRunning, runs, automatic, false},
		"paused":                  {apron.ServicePaused, news, automatic, false},
		"create failed":           {apron.ServiceCreateFailed, news, automatic, false},
		"no longer automatically": {apron.ServiceRunning, news, manual, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLifecycle(t, storetest.Open(t), tt.status, tt.change)
			l.tx(t, func(tx *store.Tx) error {
				return tx.SetPush(t.Context(), l.id, store.Push{Version: tt.version, Pending: true})
			})
			before := l.service(t)
			for range 2 {
				if err := l.DeployPushes(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := l.push(t); got.Pending || got.Version != tt.version {
				t.Errorf("known is %+v", got)
			}
			if !tt.begins {
				l.wantUntouched(t, before)
				return
			}
			list, _, err := l.store.Operations(t.Context(), l.id, "", 0)
			if err != nil || len(list) != 2 {
				t.Fatalf("operations %+v, %v", list, err)
			}
			l.wantBegun(t, list[0].ID, apron.OperationStartDeployment, l.service(t).Candidate)
		})
	}
}

// Run deploys what waits, at its start and when an operation ends.
func TestRunDeploysPushes(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceOperationInProgress, automatic)
	begun := make(chan struct{}, 1)
	l.onWake = func() { begun <- struct{}{} }
	l.write(t, func(svc *apron.Service) { svc.Active = l.revisions(t)[0].ID })
	if _, err := l.AutoDeploy(t.Context(), l.id, "sha256:news"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	l.write(t, func(svc *apron.Service) { svc.Status = apron.ServiceRunning })
	l.OperationEnded()
	<-begun
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := l.service(t).Status; got != apron.ServiceOperationInProgress {
		t.Errorf("service is %s", got)
	}
}
