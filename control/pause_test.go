package control_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/store/storetest"
)

func TestPauseAndResume(t *testing.T) {
	pause := func(l *lifecycle, ctx context.Context) (control.ServiceView, apron.OperationID, error) {
		return l.PauseService(ctx, l.scope, l.arn)
	}
	resume := func(l *lifecycle, ctx context.Context) (control.ServiceView, apron.OperationID, error) {
		return l.ResumeService(ctx, l.scope, l.arn)
	}
	const (
		cannotPause  = "Service cannot be paused in the current state: "
		cannotResume = "Service cannot be resumed in the current state: "
	)
	tests := []struct {
		name   string
		call   func(*lifecycle, context.Context) (control.ServiceView, apron.OperationID, error)
		status apron.ServiceStatus
		begins apron.OperationType // empty: no operation
		want   string              // the fault, empty: none
	}{
		{"pause running", pause, apron.ServiceRunning, apron.OperationPause, ""},
		{"P4: pause paused", pause, apron.ServicePaused, "", ""},
		{"pause in progress", pause, apron.ServiceOperationInProgress, "", cannotPause + "OPERATION_IN_PROGRESS."},
		{"pause create failed", pause, apron.ServiceCreateFailed, "", cannotPause + "CREATE_FAILED."},
		{"pause delete failed", pause, apron.ServiceDeleteFailed, "", cannotPause + "DELETE_FAILED."},
		{"pause deleted", pause, apron.ServiceDeleted, "", cannotPause + "DELETED."},
		{"resume paused", resume, apron.ServicePaused, apron.OperationResume, ""},
		{"P4: resume running", resume, apron.ServiceRunning, "", ""},
		{"resume in progress", resume, apron.ServiceOperationInProgress, "", cannotResume + "OPERATION_IN_PROGRESS."},
		{"resume create failed", resume, apron.ServiceCreateFailed, "", cannotResume + "CREATE_FAILED."},
		{"resume delete failed", resume, apron.ServiceDeleteFailed, "", cannotResume + "DELETE_FAILED."},
		{"resume deleted", resume, apron.ServiceDeleted, "", cannotResume + "DELETED."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLifecycle(t, storetest.Open(t), tt.status, nil)
			before := l.service(t)
			view, op, err := tt.call(l, t.Context())
			if tt.want != "" {
				wantRefusal(t, err, apron.State, tt.want)
				l.wantUntouched(t, before)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(l.service(t), view.Service); diff != "" {
				t.Errorf("the answer is not what the store has (-store +answer):\n%s", diff)
			}
			if tt.begins == "" {
				if op != "" || view.Status != tt.status {
					t.Errorf("got operation %q and status %s, want none and %s", op, view.Status, tt.status)
				}
				l.wantUntouched(t, before)
				return
			}
			l.wantBegun(t, op, tt.begins, view.Candidate) // pause has none
			if kept := view.Active + view.Candidate; kept != before.Active {
				t.Errorf("active %q, candidate %q: want %s to be kept", view.Active, view.Candidate, before.Active)
			}
		})
	}
}
