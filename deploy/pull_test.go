package deploy_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/engine/enginetest"
	"apron/logs"
	"apron/source"
)

// An operation that a registry keeps waiting says why while it waits, and when it gives up.
func TestRegistryIsAway(t *testing.T) {
	trouble := &source.UnavailableError{Msg: "The registry example.com answers 503 Service Unavailable.", Err: context.DeadlineExceeded}
	w := newWorld(t)
	w.behave("web:1", "01", enginetest.Behaviour{Trouble: trouble})
	svc := w.begin(w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
	w.wantStatus(svc.ID, apron.ServiceCreateFailed)
	op := w.last(svc.ID)
	if op.Reason != trouble.Msg {
		t.Errorf("the operation failed because %q, want %q", op.Reason, trouble.Msg)
	}
	lines, err := w.logs.Read(logs.OperationStream(op), 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		if strings.Contains(l.Message, "503") {
			got = append(got, l.Message)
		}
	}
	want := "[AppRunner] " + trouble.Msg + " Trying again."
	if diff := cmp.Diff([]string{want, want}, got[:min(2, len(got))]); diff != "" {
		t.Errorf("the operation's log (-want +got):\n%s", diff)
	}
}

// Trying again is no reason to tell the beginning again.
func TestBeginningIsToldOnce(t *testing.T) {
	w := newWorld(t)
	w.images.away = &source.UnavailableError{Msg: "The registry example.com cannot be reached.", Err: context.DeadlineExceeded}
	svc := w.begin(w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
	w.wantStatus(svc.ID, apron.ServiceCreateFailed)
	w.wantEvents(svc.ID, 0,
		"Service status is set to OPERATION_IN_PROGRESS.",
		"Service creation started.",
		"Deployment with ID : <id> started. Triggering event : SERVICE_CREATE",
		"Deployment Artifact: [Repo Type: ECR], [Image URL: web:1]",
		"Pulling image web:1 from ECR repository.",
		"The registry example.com cannot be reached.",
		"Deployment with ID : <id> failed. Failure reason : The registry example.com cannot be reached.",
		"Service creation failed. For details, see service logs.",
		"Service status is set to CREATE_FAILED.")
}

// A build that needs an image of a registry that is away fails of it, and tells each thing once.
func TestRegistryOfABuildIsAway(t *testing.T) {
	w := newWorld(t)
	c := w.withCode()
	c.away = &source.UnavailableError{Msg: "The registry example.com cannot be reached.", Err: context.DeadlineExceeded}
	s := c.source()
	svc := c.create(s)
	w.wantStatus(svc.ID, apron.ServiceCreateFailed)
	w.wantEvents(svc.ID, 0,
		"Service status is set to OPERATION_IN_PROGRESS.",
		"Service creation started.",
		"Deployment with ID : <id> started. Triggering event : SERVICE_CREATE",
		"Deployment Artifact: [Repo Type: Source], [Repository: "+s.Code.URL+"], [Branch: main], [SourceDirectory: /]",
		"Pulling source code from GIT Repository ( "+s.Code.URL+" ).",
		"Successfully pulled your application source code.",
		"Reading apprunner.yaml config file.",
		"Successfully validate configuration file.",
		"Starting source code build.",
		"The registry example.com cannot be reached.",
		"Deployment with ID : <id> failed. Failure reason : The registry example.com cannot be reached.",
		"Service creation failed. For details, see service logs.",
		"Service status is set to CREATE_FAILED.")
}
