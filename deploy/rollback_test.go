package deploy_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/operation"
)

// failIn makes the step of the plan fail for good, after its effect if that is wanted.
func failIn(t apron.OperationType, step string, effect bool) sabotage {
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
				return apron.Faultf(apron.Invalid, "It was not to be.")
			}
		}
	}
}

// Wherever an update fails, also when it has been routed already, what served before serves again
// and no request is lost on the way there and back.
func TestUpdateRollsBackFromEveryStep(t *testing.T) {
	for _, step := range []string{"resolve", "prepare", "provision", "route", "retire"} {
		for name, effect := range map[string]bool{"before its effect": false, "after its effect": true} {
			t.Run(step+" "+name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				svc := w.create()
				w.behave("web:2", "02", says("v2"))
				w.boot(failIn(apron.OperationUpdate, step, effect))
				stop := w.load(svc, 2)
				after := w.update(svc.ID, "web:2")
				stop()
				if after.Active != svc.Active {
					t.Errorf("revision is %s, before %s", after.Active, svc.Active)
				}
				if diff := cmp.Diff(svc.Config, after.Config); diff != "" {
					t.Errorf("configuration (-before +after):\n%s", diff)
				}
				w.wantServing(after, "v1", apron.OperationRollbackSucceeded)
			})
		}
	}
}

func TestPauseFails(t *testing.T) {
	for _, step := range []string{"suspend", "park"} {
		for name, effect := range map[string]bool{"before its effect": false, "after its effect": true} {
			t.Run(step+" "+name, func(t *testing.T) {
				w := newWorld(t)
				svc := w.create()
				from := len(w.events(svc.ID))
				w.boot(failIn(apron.OperationPause, step, effect))
				after := w.begin(w.plane.PauseService(t.Context(), w.scope, svc.ARN().String()))
				if after.Active != svc.Active {
					t.Errorf("revision is %s, before %s", after.Active, svc.Active)
				}
				w.wantServing(after, "v1", apron.OperationFailed)
				lines := w.events(svc.ID)[from:]
				want := []string{
					"[AppRunner] It was not to be.", "[AppRunner] Service pause failed.", "[AppRunner] Service status is set to RUNNING.",
				}
				if diff := cmp.Diff(want, lines[len(lines)-3:]); diff != "" {
					t.Errorf("last events (-want +got):\n%s", diff)
				}
			})
		}
	}
}
