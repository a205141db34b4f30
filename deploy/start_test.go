package deploy_test

import (
	"slices"
	"strings"
	"testing"

	"apron"
	"apron/control"
)

func (w *world) deploy(svc apron.Service) apron.Service {
	w.Helper()
	op, err := w.plane.StartDeployment(w.Context(), w.scope, svc.ARN().String())
	return w.begin(control.ServiceView{Service: svc}, op, err)
}

func TestStartDeployment(t *testing.T) {
	w := newWorld(t)
	svc := w.create()

	same := w.deploy(svc)
	if same.Active == svc.Active {
		t.Error("the instances of the same image were not replaced")
	}
	w.wantSettled(svc.ID, 1)

	w.behave("web:1", "02", says("v2"))
	from := len(w.events(svc.ID))
	w.deploy(svc)
	if got := w.get(svc); got != "v2" {
		t.Errorf("the service answers %q", got)
	}
	w.wantSettled(svc.ID, 1)
	lines := w.events(svc.ID)[from:]
	for _, want := range []string{"Deployment started.", "Service status is set to RUNNING.", "Deployment completed successfully."} {
		if !slices.Contains(lines, "[AppRunner] "+want) {
			t.Errorf("no event %q in %q", want, lines)
		}
	}
	if !strings.HasSuffix(lines[2], "Triggering event : SERVICE_DEPLOY") {
		t.Errorf("the third event is %q", lines[2])
	}

	w.behave("web:1", "03", exits())
	before := w.service(svc.ID)
	after := w.deploy(svc)
	if op := w.last(svc.ID); op.Status != apron.OperationRollbackSucceeded || after.Active != before.Active {
		t.Errorf("operation is %s, revision %s, before %s", op.Status, after.Active, before.Active)
	}
	if got := w.get(svc); got != "v2" {
		t.Errorf("the service answers %q", got)
	}
	w.wantSettled(svc.ID, 1)
}
