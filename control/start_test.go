package control_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/store"
	"apron/store/storetest"
)

func TestStartDeployment(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	before := l.service(t)
	op, err := l.StartDeployment(t.Context(), l.scope, l.arn)
	if err != nil {
		t.Fatal(err)
	}
	after := l.service(t)
	l.wantBegun(t, op, apron.OperationStartDeployment, after.Candidate)
	rev := l.revision(t, after.Candidate)
	if diff := cmp.Diff(before.Config, rev.Config); diff != "" || !rev.Image.IsZero() || after.Active != before.Active {
		t.Errorf("revision %+v has configuration (-service +revision):\n%s", rev, diff)
	}
}

func TestStartDeploymentRefuses(t *testing.T) {
	for _, status := range []apron.ServiceStatus{
		apron.ServicePaused, apron.ServiceCreateFailed, apron.ServiceOperationInProgress, apron.ServiceDeleteFailed, apron.ServiceDeleted,
	} {
		t.Run(string(status), func(t *testing.T) {
			l := newLifecycle(t, storetest.Open(t), status, nil)
			before := l.service(t)
			_, err := l.StartDeployment(t.Context(), l.scope, l.arn)
			wantRefusal(t, err, apron.Invalid, "Can't start a deployment on the specified service, because it isn't in RUNNING state")
			l.wantUntouched(t, before)
		})
	}
}

func TestLifecycleOfUnknownServices(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	elsewhere := apron.Scope{Account: "123456789012", Region: "eu-west-1"}
	calls := map[string]func() error{
		"update": func() error {
			_, _, err := l.UpdateService(t.Context(), elsewhere, l.arn, control.ServicePatch{}, nil)
			return err
		},
		"delete": func() error { _, _, err := l.DeleteService(t.Context(), elsewhere, l.arn); return err },
		"pause":  func() error { _, _, err := l.PauseService(t.Context(), elsewhere, l.arn); return err },
		"resume": func() error { _, _, err := l.ResumeService(t.Context(), elsewhere, l.arn); return err },
		"start":  func() error { _, err := l.StartDeployment(t.Context(), elsewhere, l.arn); return err },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			wantRefusal(t, call(), apron.NotFound, "Resource not found: "+l.arn)
		})
	}
}

// An operation that has not ended forbids another, whatever the service shows.
func TestBusy(t *testing.T) {
	for _, status := range []apron.ServiceStatus{apron.ServiceRunning, apron.ServicePaused} {
		l := newLifecycle(t, storetest.Open(t), status, nil)
		before := l.service(t)
		l.tx(t, func(tx *store.Tx) error {
			return tx.InsertOperation(t.Context(), apron.Operation{
				ID: "0", Service: l.id, Type: apron.OperationUpdate, Status: apron.OperationPending,
			})
		})
		memory := control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(4096)}}
		calls := map[apron.OperationType]func() error{
			apron.OperationUpdate:          func() error { _, _, err := l.UpdateService(t.Context(), l.scope, l.arn, memory, nil); return err },
			apron.OperationPause:           func() error { _, _, err := l.PauseService(t.Context(), l.scope, l.arn); return err },
			apron.OperationResume:          func() error { _, _, err := l.ResumeService(t.Context(), l.scope, l.arn); return err },
			apron.OperationStartDeployment: func() error { _, err := l.StartDeployment(t.Context(), l.scope, l.arn); return err },
			apron.OperationDelete:          func() error { _, _, err := l.DeleteService(t.Context(), l.scope, l.arn); return err },
		}
		for typ, call := range calls {
			if status.Allows(typ) {
				wantRefusal(t, call(), apron.State, "Another operation on the service is in progress.")
			}
		}
		if diff := cmp.Diff(before, l.service(t)); diff != "" || l.wakes != 0 {
			t.Errorf("%s: %d wakes, the service was changed (-before +after):\n%s", status, l.wakes, diff)
		}
	}
}

// Of calls at the same time exactly one begins its operation.
func TestOneOperationAtATime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		l := newLifecycle(t, s, apron.ServiceRunning, nil)
		other := control.New(control.Config{
			Store: s, Domain: "apron.example.com", Wake: func() {},
			Deadline: func(apron.OperationType) time.Duration { return time.Minute }, Log: slog.New(slog.DiscardHandler),
		})
		var wg sync.WaitGroup
		results := make([]error, 12)
		for n := range results {
			wg.Go(func() {
				switch n % 3 {
				case 0:
					_, results[n] = other.StartDeployment(t.Context(), l.scope, l.arn)
				case 1:
					_, _, results[n] = other.PauseService(t.Context(), l.scope, l.arn)
				default:
					_, _, results[n] = other.UpdateService(t.Context(), l.scope, l.arn,
						control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: new(4096)}}, nil)
				}
			})
		}
		wg.Wait()
		begun := 0
		for n, err := range results {
			if err == nil {
				begun++
			} else if apron.KindOf(err) == 0 {
				t.Error(fmt.Errorf("call %d: %w", n, err))
			}
		}
		ops, _, err := s.Operations(t.Context(), l.id, "", 0)
		if err != nil || begun != 1 || len(ops) != 2 {
			t.Errorf("%d calls began an operation and there are %d, %v; want 1 and 2 with create", begun, len(ops), err)
		}
	})
}
