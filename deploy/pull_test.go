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
