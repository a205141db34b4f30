package deploy_test

import (
	"testing"

	"apron"
	"apron/control"
)

// follows makes a service of image web:1, which says v1, that is deployed automatically.
func (w *world) follows() apron.Service {
	w.Helper()
	w.behave("web:1", "01", says("v1"))
	config := w.config()
	config.Source.AutoDeployments = true
	svc := w.begin(w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: config}))
	w.wantStatus(svc.ID, apron.ServiceRunning)
	return svc
}

// push tells of a push of the digest.
func (w *world) push(id apron.ServiceID, content string) apron.OperationID {
	w.Helper()
	op, err := w.plane.AutoDeploy(w.Context(), id, pinned(content).Digest)
	if err != nil {
		w.Fatal(err)
	}
	return op
}

// types returns the types of the service's operations, oldest first.
func (w *world) types(id apron.ServiceID) []apron.OperationType {
	w.Helper()
	ops, _, err := w.store.Operations(w.Context(), id, "", 0)
	if err != nil {
		w.Fatal(err)
	}
	list := make([]apron.OperationType, len(ops))
	for i, op := range ops {
		list[len(ops)-1-i] = op.Type
	}
	return list
}

func TestPushDeploys(t *testing.T) {
	w := newWorld(t)
	svc := w.follows()
	w.behave("web:1", "02", says("v2"))
	w.await(w.push(svc.ID, "02"))
	if op := w.push(svc.ID, "02"); op != "" {
		t.Errorf("a push of what runs began operation %s", op)
	}
	w.wantServing(w.service(svc.ID), "v2", apron.OperationSucceeded)

	// A version that fails is rolled back, and not tried again because somebody looks.
	w.behave("web:1", "03", exits())
	w.await(w.push(svc.ID, "03"))
	w.wantServing(w.service(svc.ID), "v2", apron.OperationRollbackSucceeded)
	if op, err := w.plane.Noticed(t.Context(), svc.ID, pinned("03").Digest); op != "" || err != nil {
		t.Errorf("a look at what failed: operation %q, %v", op, err)
	}
	// Neither is what was gone back from.
	w.behave("web:1", "04", says("v4"))
	w.await(w.push(svc.ID, "04"))
	w.wantServing(w.rollback(svc.ID, 2), "v2", apron.OperationSucceeded)
	if op, err := w.plane.Noticed(t.Context(), svc.ID, pinned("04").Digest); op != "" || err != nil {
		t.Errorf("a look at what was gone back from: operation %q, %v", op, err)
	}
}

// Pushes during an operation are one deployment after it, also when the server dies in between, and
// none when the operation got the version itself.
func TestPushDuringAnOperation(t *testing.T) {
	w := newWorld(t)
	svc := w.follows()
	w.behave("web:1", "02", says("v2"))
	crashes := 0
	w.boot(crashIn(apron.OperationUpdate, "resolve", true, &crashes))
	_, op, err := w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), toImage("web:1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	<-w.plane.done
	w.push(svc.ID, "02") // what the operation has found already
	w.behave("web:1", "03", exits())
	w.push(svc.ID, "03")
	w.behave("web:1", "04", says("v4"))
	w.push(svc.ID, "04")
	w.boot(nil)
	w.await(op)
	w.until(func() bool { return len(w.types(svc.ID)) == 3 }, "the push is deployed")
	w.await(w.last(svc.ID).ID)
	w.wantServing(w.service(svc.ID), "v4", apron.OperationSucceeded)
	if got := w.types(svc.ID); got[2] != apron.OperationStartDeployment {
		t.Errorf("operations are %v", got)
	}

	// The image was pushed before the deployment looked: it is in there.
	w.behave("web:1", "05", says("v5"))
	crashes = 0
	w.boot(crashIn(apron.OperationStartDeployment, "resolve", true, &crashes))
	op, err = w.plane.StartDeployment(t.Context(), w.scope, svc.ARN().String())
	if err != nil {
		t.Fatal(err)
	}
	<-w.plane.done
	w.push(svc.ID, "05")
	w.boot(nil)
	w.await(op)
	w.begin(w.plane.PauseService(t.Context(), w.scope, svc.ARN().String())) // nothing was begun in between
	if got := w.types(svc.ID); len(got) != 5 {
		t.Errorf("operations are %v", got)
	}

	// None while paused, and none catches up.
	w.behave("web:1", "06", says("v6"))
	if op := w.push(svc.ID, "06"); op != "" {
		t.Errorf("a push to a paused service began operation %s", op)
	}
	w.wantServing(w.begin(w.plane.ResumeService(t.Context(), w.scope, svc.ARN().String())), "v5", apron.OperationSucceeded)
	if op, err := w.plane.Noticed(t.Context(), svc.ID, pinned("06").Digest); op != "" || err != nil {
		t.Errorf("a look at what came while it was paused: operation %q, %v", op, err)
	}
}
