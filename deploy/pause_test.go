package deploy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/engine/enginetest"
)

func TestPauseAndResume(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	from := len(w.events(svc.ID))

	paused := w.begin(w.plane.PauseService(t.Context(), w.scope, svc.ARN().String()))
	w.wantStatus(svc.ID, apron.ServicePaused)
	w.wantPaused(svc, paused)
	w.wantEvents(svc.ID, from,
		"Service status is set to OPERATION_IN_PROGRESS.", "Service pause started.",
		"Service status is set to PAUSED.", "Service pause completed successfully.")

	w.behave("web:1", "02", says("v2")) // resume must not see it
	from = len(w.events(svc.ID))
	resumed := w.begin(w.plane.ResumeService(t.Context(), w.scope, svc.ARN().String()))
	w.wantStatus(svc.ID, apron.ServiceRunning)
	if got := w.get(svc); got != "v1" || resumed.Active != svc.Active {
		t.Errorf("the service answers %q with revision %s, want v1 with %s", got, resumed.Active, svc.Active)
	}
	w.wantSettled(svc.ID, 1)
	w.wantEvents(svc.ID, from,
		"Service status is set to OPERATION_IN_PROGRESS.", "Service resume started.",
		"Provisioning instances and deploying image for publicly accessible service.",
		"Performing health check on protocol `TCP` [Port: '8080'].",
		"Health check is successful. Routing traffic to application.",
		"Successfully routed incoming traffic to application.",
		"Service status is set to RUNNING.", "Service resume completed successfully.")
}

// wantPaused checks that nothing of the service runs and everything is kept.
func (w *world) wantPaused(before, after apron.Service) {
	w.Helper()
	if after.Status != apron.ServicePaused || after.Active != before.Active || after.Candidate != "" {
		w.Errorf("service is %s with active %q and candidate %q, want %q", after.Status, after.Active, after.Candidate, before.Active)
	}
	if diff := cmp.Diff(before.Config, after.Config); diff != "" {
		w.Errorf("configuration (-before +after):\n%s", diff)
	}
	for _, rev := range w.revisions(after.ID) {
		if left := w.plane.fleet.Instances(rev.ID); len(left) != 0 {
			w.Errorf("instances of revision %d are left: %+v", rev.Number, left)
		}
	}
	w.wantHistory(after, 0)
	if got := w.get(before); got != "404" {
		w.Errorf("the service answers %q", got)
	}
}

// A request that is being answered when its service is paused is answered to the end.
func TestPauseDrains(t *testing.T) {
	w := newWorld(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	w.behave("web:1", "01", enginetest.Behaviour{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = rw.Write([]byte("v1"))
	})})
	svc := w.begin(w.plane.CreateService(t.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
	w.wantStatus(svc.ID, apron.ServiceRunning)
	answer := make(chan string, 1)
	go func() {
		got, err := w.try(svc)
		if err != nil {
			got = err.Error()
		}
		answer <- got
	}()
	<-arrived
	_, op, err := w.plane.PauseService(t.Context(), w.scope, svc.ARN().String())
	if err != nil {
		t.Fatal(err)
	}
	w.until(func() bool { return w.last(svc.ID).Step == "suspend" }, "the service is off the router")
	if len(w.plane.fleet.Instances(svc.Active)) != 1 {
		t.Error("the instance was stopped with a request in flight")
	}
	close(release)
	if got := <-answer; got != "v1" {
		t.Errorf("the request was answered %q", got)
	}
	w.await(op)
	w.wantStatus(svc.ID, apron.ServicePaused)
}

func TestResumeFails(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	w.begin(w.plane.PauseService(t.Context(), w.scope, svc.ARN().String()))
	w.wantStatus(svc.ID, apron.ServicePaused)
	if err := w.engine.Remove(t.Context(), svc.Active); err != nil { // so that it is prepared anew
		t.Fatal(err)
	}
	w.engine.Image(pinned("01").Reference, exits())

	after := w.begin(w.plane.ResumeService(t.Context(), w.scope, svc.ARN().String()))
	if op := w.last(svc.ID); op.Status != apron.OperationFailed || !strings.Contains(op.Reason, "exit code: 3") {
		t.Errorf("operation is %s because %q", op.Status, op.Reason)
	}
	w.wantPaused(svc, after)
}
