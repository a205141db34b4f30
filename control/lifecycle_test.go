package control_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/store"
)

// lifecycle is a control over an empty store with one service, whose create operation has ended.
type lifecycle struct {
	*control.Control
	store *store.Store
	scope apron.Scope
	arn   string
	id    apron.ServiceID
	wakes int
	// onWake is called for each wake; nil: wakes are counted.
	onWake func()
}

// newLifecycle makes the service and gives it the status.
func newLifecycle(t *testing.T, s *store.Store, status apron.ServiceStatus, change func(*apron.ServiceConfiguration)) *lifecycle {
	t.Helper()
	l := &lifecycle{store: s, scope: apron.Scope{Account: "123456789012", Region: "us-east-1"}}
	l.Control = control.New(control.Config{
		Store: s, Domain: "apron.example.com", Wake: func() { l.woken() },
		Deadline: func(apron.OperationType) time.Duration { return time.Minute }, Log: slog.New(slog.DiscardHandler),
	})
	config := imageConfiguration()
	config.Network.VPCConnector, config.Observability = "", nil
	view, op, err := l.CreateService(t.Context(), l.scope, control.NewService{Name: "web", Config: config})
	if err != nil {
		t.Fatal(err)
	}
	l.arn, l.id, l.wakes = view.ARN().String(), view.ID, 0
	l.end(t, op)
	l.write(t, func(svc *apron.Service) {
		svc.Status = status
		if status == apron.ServiceRunning || status == apron.ServicePaused {
			svc.Active = svc.Candidate
		}
		svc.Candidate = ""
		if change != nil {
			change(&svc.Config)
		}
	})
	return l
}

func (l *lifecycle) woken() {
	if l.onWake != nil {
		l.onWake()
		return
	}
	l.wakes++
}

// end ends the open operation.
func (l *lifecycle) end(t *testing.T, want apron.OperationID) {
	t.Helper()
	lease, err := l.store.Claim(t.Context(), "test", time.Minute)
	if err != nil || lease.Operation.ID != want {
		t.Fatalf("claimed %s, %v; want %s", lease.Operation.ID, err, want)
	}
	l.tx(t, func(tx *store.Tx) error {
		_, err := tx.EndOperation(t.Context(), lease, apron.OperationSucceeded)
		return err
	})
}

// write changes the service as an operation would; a revision that becomes active gets an image.
func (l *lifecycle) write(t *testing.T, change func(*apron.Service)) {
	t.Helper()
	l.tx(t, func(tx *store.Tx) error {
		svc, err := tx.Service(t.Context(), l.id)
		if err != nil {
			return err
		}
		change(&svc)
		if svc.Active != "" {
			if err := tx.SetRevisionImage(t.Context(), svc.Active, servingImage()); err != nil {
				return err
			}
		}
		return tx.UpdateService(t.Context(), svc)
	})
}

func (l *lifecycle) tx(t *testing.T, fn func(*store.Tx) error) {
	t.Helper()
	if err := l.store.Tx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func servingImage() apron.Image {
	return apron.Image{Reference: "registry.example.com/web@sha256:01", Digest: "sha256:01"}
}

func (l *lifecycle) service(t *testing.T) apron.Service {
	t.Helper()
	svc, err := l.store.Service(t.Context(), l.id)
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func (l *lifecycle) revision(t *testing.T, id apron.RevisionID) apron.Revision {
	t.Helper()
	rev, err := l.store.Revision(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// wantBegun checks that the service is in the operation, which is queued.
func (l *lifecycle) wantBegun(t *testing.T, id apron.OperationID, typ apron.OperationType, rev apron.RevisionID) {
	t.Helper()
	op, err := l.store.Operation(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if op.Type != typ || op.Status != apron.OperationPending || op.Revision != rev || op.Deadline.Sub(op.StartedAt) != time.Minute {
		t.Errorf("operation is %+v, want a PENDING %s of revision %s with a minute's deadline", op, typ, rev)
	}
	if s := l.service(t).Status; s != apron.ServiceOperationInProgress {
		t.Errorf("service is %s", s)
	}
	if l.wakes != 1 {
		t.Errorf("the runner was woken %d times, want once", l.wakes)
	}
}

// wantUntouched checks that a refused or empty call has written nothing.
func (l *lifecycle) wantUntouched(t *testing.T, before apron.Service) {
	t.Helper()
	if diff := cmp.Diff(before, l.service(t)); diff != "" {
		t.Errorf("the service was changed (-before +after):\n%s", diff)
	}
	ops, _, err := l.store.Operations(t.Context(), l.id, "", 0)
	if err != nil || len(ops) != 1 {
		t.Errorf("%d operations, %v; want the create operation alone", len(ops), err)
	}
	if l.wakes != 0 {
		t.Error("the runner was woken")
	}
}
