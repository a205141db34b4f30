package deploy_test

import (
	"fmt"
	"testing"

	"apron"
	"apron/control"
)

// walk is an operation that is to end the same way wherever the control plane dies in it.
type walk struct {
	name    string
	typ     apron.OperationType
	steps   []string
	prepare func(*world, *apron.Service) // makes the service the operation meets
	begin   func(*world, apron.Service) (control.ServiceView, apron.OperationID, error)
	serves  bool // requests must be answered throughout
	fails   bool // for a reason of its own
	check   func(w *world, before, after apron.Service)
}

func walks() []walk {
	rollout := []string{"resolve", "build", "prepare", "provision", "route", "retire"}
	running := func(w *world, svc *apron.Service) {
		*svc = w.create()
		w.behave("web:2", "02", says("v2"))
	}
	broken := func(w *world, svc *apron.Service) {
		*svc = w.create()
		w.behave("web:2", "02", exits())
	}
	update := func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
		return w.plane.UpdateService(w.Context(), w.scope, svc.ARN().String(), toImage("web:2"), nil)
	}
	return []walk{
		{
			name: "create", typ: apron.OperationCreate, steps: rollout,
			prepare: func(w *world, _ *apron.Service) { w.behave("web:1", "01", says("v1")) },
			begin: func(w *world, _ apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: w.config()})
			},
			check: func(w *world, _, after apron.Service) { w.wantServing(after, "v1", apron.OperationSucceeded) },
		},
		{
			name: "create that fails", fails: true, typ: apron.OperationCreate, steps: []string{"resolve", "prepare", "revert", "discard"},
			prepare: func(w *world, _ *apron.Service) { w.behave("web:1", "01", exits()) },
			begin: func(w *world, _ apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: w.config()})
			},
			check: func(w *world, _, after apron.Service) {
				if after.Status != apron.ServiceCreateFailed || after.Active != "" || after.Candidate != "" {
					w.Errorf("service is %+v", after)
				}
				w.wantEngine(nil)
			},
		},
		{
			name: "create from source code", typ: apron.OperationCreate, steps: []string{"resolve", "build", "prepare"},
			prepare: func(w *world, _ *apron.Service) { w.withCode() },
			begin: func(w *world, _ apron.Service) (control.ServiceView, apron.OperationID, error) {
				config := w.config()
				config.Source = w.code.source()
				return w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: config})
			},
			check: func(w *world, _, after apron.Service) { w.wantServing(after, "v1", apron.OperationSucceeded) },
		},
		{
			name: "update", typ: apron.OperationUpdate, steps: rollout, serves: true, prepare: running, begin: update,
			check: func(w *world, _, after apron.Service) { w.wantServing(after, "v2", apron.OperationSucceeded) },
		},
		{
			name: "update that fails", fails: true, typ: apron.OperationUpdate, steps: []string{"resolve", "prepare", "revert", "discard"},
			serves: true, prepare: broken, begin: update,
			check: func(w *world, before, after apron.Service) {
				if after.Active != before.Active {
					w.Errorf("revision is %s, before %s", after.Active, before.Active)
				}
				w.wantServing(after, "v1", apron.OperationRollbackSucceeded)
			},
		},
		{
			name: "deployment", typ: apron.OperationStartDeployment, steps: rollout, serves: true, prepare: running,
			begin: func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
				w.behave("web:1", "02", says("v2"))
				op, err := w.plane.StartDeployment(w.Context(), w.scope, svc.ARN().String())
				return control.ServiceView{Service: svc}, op, err
			},
			check: func(w *world, _, after apron.Service) { w.wantServing(after, "v2", apron.OperationSucceeded) },
		},
		{
			name: "pause", typ: apron.OperationPause, steps: []string{"suspend", "park"}, prepare: running,
			begin: func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.PauseService(w.Context(), w.scope, svc.ARN().String())
			},
			check: func(w *world, before, after apron.Service) { w.wantPaused(before, after) },
		},
		{
			name: "resume", typ: apron.OperationResume, steps: []string{"provision", "route"},
			prepare: func(w *world, svc *apron.Service) {
				*svc = w.create()
				*svc = w.begin(w.plane.PauseService(w.Context(), w.scope, svc.ARN().String()))
			},
			begin: func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.ResumeService(w.Context(), w.scope, svc.ARN().String())
			},
			check: func(w *world, before, after apron.Service) {
				if after.Active != before.Active {
					w.Errorf("revision is %s, before %s", after.Active, before.Active)
				}
				w.wantServing(after, "v1", apron.OperationSucceeded)
			},
		},
		{
			name: "resume that fails", fails: true, typ: apron.OperationResume, steps: []string{"withdraw", "park"},
			prepare: func(w *world, svc *apron.Service) {
				*svc = w.create()
				*svc = w.begin(w.plane.PauseService(w.Context(), w.scope, svc.ARN().String()))
				if err := w.engine.Remove(w.Context(), svc.Active); err != nil { // so that it is prepared anew
					w.Fatal(err)
				}
				w.engine.Image(pinned("01").Reference, exits())
			},
			begin: func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.ResumeService(w.Context(), w.scope, svc.ARN().String())
			},
			check: func(w *world, before, after apron.Service) { w.wantPaused(before, after) },
		},
		{
			name: "delete", typ: apron.OperationDelete, steps: []string{"unroute", "retire"}, prepare: running,
			begin: func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.DeleteService(w.Context(), w.scope, svc.ARN().String())
			},
			check: func(w *world, _, after apron.Service) { w.wantDeleted(after) },
		},
	}
}

// wantServing checks the end of an operation that leaves the service running.
func (w *world) wantServing(svc apron.Service, says string, status apron.OperationStatus) {
	w.Helper()
	if op := w.last(svc.ID); op.Status != status {
		w.Errorf("operation is %s because %q, want %s", op.Status, op.Reason, status)
	}
	w.wantSettled(svc.ID, 1)
	if got := w.get(svc); got != says {
		w.Errorf("the service answers %q, want %q", got, says)
	}
}

// The control plane dies in every step, before and after its checkpoint, and the next one brings
// the operation to the same end.
func TestCrashAtEveryBoundary(t *testing.T) {
	for _, k := range walks() {
		for _, step := range k.steps {
			for _, checkpointed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/checkpointed=%v", k.name, step, checkpointed), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					var before apron.Service
					k.prepare(w, &before)
					stop := func() int { return 0 }
					if k.serves {
						stop = w.load(before, 2)
					}
					crashes := 0
					w.boot(crashIn(k.typ, step, checkpointed, &crashes))
					view, op, err := k.begin(w, before)
					if err != nil {
						t.Fatal(err)
					}
					<-w.plane.done
					w.boot(nil)
					w.await(op)
					if crashes != 1 {
						t.Errorf("the control plane ended %d times in step %s, want once", crashes, step)
					}
					after := w.service(view.ID)
					k.check(w, before, after)
					stop()
					w.boot(nil) // and once more, with nothing to do
					k.check(w, before, after)
				})
			}
		}
	}
}
