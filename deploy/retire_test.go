package deploy_test

import (
	"net/http"
	"testing"

	"apron"
	"apron/control"
	"apron/engine/enginetest"
)

// slow is an application that answers its requests when it may.
type slow struct {
	arrived, proceed chan struct{}
	answer           chan string
}

// slowly makes the image an application that answers text, later.
func (w *world) slowly(identifier, content, text string) *slow {
	s := &slow{arrived: make(chan struct{}), proceed: make(chan struct{}), answer: make(chan string, 1)}
	w.behave(identifier, content, enginetest.Behaviour{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		s.arrived <- struct{}{}
		<-s.proceed
		_, _ = rw.Write([]byte(text))
	})})
	return s
}

// ask sends the service a request, and returns once an instance has it.
func (w *world) ask(s *slow, svc apron.Service) {
	go func() {
		got, err := w.try(svc)
		if err != nil {
			got = err.Error()
		}
		s.answer <- got
	}()
	<-s.arrived
}

func (w *world) wantAnswer(s *slow, want string) {
	w.Helper()
	s.proceed <- struct{}{}
	if got := <-s.answer; got != want {
		w.Errorf("a request from before was answered %q, want %q", got, want)
	}
}

// An operation does not wait for the requests that earlier versions still have; another one can follow,
// and the control plane can end in between. Pausing and deleting wait.
func TestOperationsDoNotWaitForOldVersions(t *testing.T) {
	for name, end := range map[string]struct {
		begin func(*world, apron.Service) (control.ServiceView, apron.OperationID, error)
		check func(w *world, before, after apron.Service)
	}{
		"pause": {
			func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.PauseService(w.Context(), w.scope, svc.ARN().String())
			},
			func(w *world, before, after apron.Service) { w.wantPaused(before, after) },
		},
		"delete": {
			func(w *world, svc apron.Service) (control.ServiceView, apron.OperationID, error) {
				return w.plane.DeleteService(w.Context(), w.scope, svc.ARN().String())
			},
			func(w *world, _, after apron.Service) { w.wantDeleted(after) },
		},
	} {
		for mode, restart := range map[string]bool{"": false, " after restarts": true} {
			t.Run(name+mode, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				first, second := w.slowly("web:1", "01", "v1"), w.slowly("web:2", "02", "v2")
				w.behave("web:3", "03", says("v3"))
				svc := w.begin(w.plane.CreateService(t.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
				w.wantStatus(svc.ID, apron.ServiceRunning)
				running := map[apron.RevisionID]int{svc.Active: 1}
				update := func(image string) {
					t.Helper()
					svc = w.update(svc.ID, image)
					if op := w.last(svc.ID); op.Status != apron.OperationSucceeded {
						t.Fatalf("operation is %s: %s", op.Status, op.Reason)
					}
					running[svc.Active] = 1
					if diff := w.engineDiff(running); diff != "" {
						t.Errorf("an instance with a request in flight was stopped (-want +got):\n%s", diff)
					}
					if restart {
						w.boot(nil)
						w.wantEngine(running)
					}
				}
				w.ask(first, svc)
				update("web:2")
				w.ask(second, svc)
				update("web:3")
				if got := w.get(svc); got != "v3" {
					t.Errorf("the service answers %q", got)
				}
				_, op, err := end.begin(w, svc)
				if err != nil {
					t.Fatal(err)
				}
				w.until(func() bool { return w.last(svc.ID).Step != "" }, "the service is off the router")
				w.wantAnswer(second, "v2")
				w.until(func() bool { return len(w.plane.fleet.Instances(svc.Active)) == 0 }, "what served last is stopped")
				if w.last(svc.ID).Status.Final() {
					t.Error("the operation ended before the last instance")
				}
				w.wantAnswer(first, "v1")
				w.await(op)
				end.check(w, svc, w.service(svc.ID))
			})
		}
	}
}
