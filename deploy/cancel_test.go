package deploy_test

import (
	"context"
	"fmt"
	"testing"

	"apron"
	"apron/operation"
)

// hangIn makes the step of the plan hang, after its effect if that is wanted, until it is told to end.
func hangIn(t apron.OperationType, step string, effect bool, hangs chan<- struct{}) sabotage {
	return func(_ func(), plans map[apron.OperationType]operation.Plan, _ *operation.Config) {
		for i, s := range plans[t].Steps {
			if s.Name != step {
				continue
			}
			plans[t].Steps[i].Run = func(ctx context.Context, op apron.Operation) error {
				if effect {
					if err := s.Run(ctx, op); err != nil {
						return err
					}
				}
				hangs <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}
		}
	}
}

// An operation that hangs in any of its steps is canceled, and ends as if it had not begun, by the
// server that runs it or by the next one.
func TestCancelInEveryStep(t *testing.T) {
	for _, k := range walks() {
		if k.fails {
			continue
		}
		for _, step := range k.steps {
			for mode, restart := range map[string]bool{"before its effect": false, "after its effect and a restart": true} {
				t.Run(fmt.Sprintf("%s/%s/%s", k.name, step, mode), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					var before apron.Service
					k.prepare(w, &before)
					stop := func() int { return 0 }
					if k.serves {
						stop = w.load(before, 2)
					}
					hangs := make(chan struct{}, 1)
					w.boot(hangIn(k.typ, step, restart, hangs))
					view, id, err := k.begin(w, before)
					if err != nil {
						t.Fatal(err)
					}
					<-hangs
					if restart {
						w.plane.stop()
					}
					if op, svc, err := w.plane.CancelOperation(t.Context(), w.scope, view.ARN().String()); err != nil || op.ID != id || svc.ID != view.ID {
						t.Fatalf("cancel: %s of %s, %v", op.ID, svc.ID, err)
					}
					if restart {
						w.boot(nil)
					}
					w.await(id)
					stop()
					if op := w.last(view.ID); op.Reason != "The operation was canceled." {
						t.Errorf("the reason is %q", op.Reason)
					}
					w.wantCanceled(k.typ, before, w.service(view.ID))
				})
			}
		}
	}
}

// wantCanceled checks the end of a canceled operation.
func (w *world) wantCanceled(t apron.OperationType, before, after apron.Service) {
	w.Helper()
	switch t {
	case apron.OperationCreate:
		if after.Status != apron.ServiceCreateFailed || after.Active != "" || after.Candidate != "" {
			w.Errorf("service is %+v", after)
		}
		w.wantEngine(nil)
	case apron.OperationUpdate, apron.OperationStartDeployment:
		w.wantServing(after, "v1", apron.OperationRollbackSucceeded)
	case apron.OperationPause:
		w.wantServing(after, "v1", apron.OperationFailed)
	case apron.OperationResume:
		w.wantPaused(before, after)
	case apron.OperationDelete:
		if after.Status != apron.ServiceDeleteFailed {
			w.Errorf("service is %s", after.Status)
		}
		w.boot(nil)
		w.wantDeleted(w.begin(w.plane.DeleteService(w.Context(), w.scope, after.ARN().String())))
	}
}

// Then the service can do everything again.
func TestCancelThenUpdate(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	w.behave("web:2", "02", says("v2"))
	hangs := make(chan struct{}, 1)
	w.boot(hangIn(apron.OperationUpdate, "provision", false, hangs))
	_, id, err := w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), toImage("web:2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	<-hangs
	if _, _, err := w.plane.CancelOperationByID(t.Context(), w.scope, id); err != nil {
		t.Fatal(err)
	}
	w.await(id)
	w.boot(nil)
	w.wantServing(w.update(svc.ID, "web:2"), "v2", apron.OperationSucceeded)
	if _, _, err := w.plane.CancelOperationByID(t.Context(), w.scope, id); apron.KindOf(err) != apron.State {
		t.Errorf("cancel of an operation that has ended: %v", err)
	}
}
