package control_test

import (
	"testing"

	"apron"
	"apron/store/storetest"
)

func TestCancelOperation(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	_, _, err := l.CancelOperation(t.Context(), l.scope, l.arn)
	wantRefusal(t, err, apron.State, "Service web has no operation in progress.")
	begun, err := l.StartDeployment(t.Context(), l.scope, l.arn)
	if err != nil {
		t.Fatal(err)
	}
	l.wakes = 0
	for n := range 2 { // again is no harm
		op, svc, err := l.CancelOperation(t.Context(), l.scope, l.arn)
		if err != nil || op.ID != begun || !op.Canceled || svc.ID != l.id || l.wakes != n+1 {
			t.Errorf("operation %+v of %s, %v; %d wakes", op, svc.ID, err, l.wakes)
		}
	}
	if op, err := l.store.Operation(t.Context(), begun); err != nil || !op.Canceled || op.Status != apron.OperationPending {
		t.Errorf("stored is %+v, %v", op, err)
	}
}

func TestCancelOperationByID(t *testing.T) {
	l := newLifecycle(t, storetest.Open(t), apron.ServiceRunning, nil)
	begun, err := l.StartDeployment(t.Context(), l.scope, l.arn)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := apron.Scope{Account: "210987654321", Region: "us-east-1"}
	_, _, err = l.CancelOperationByID(t.Context(), elsewhere, begun)
	wantRefusal(t, err, apron.NotFound, "Operation not found: "+string(begun))
	_, _, err = l.CancelOperationByID(t.Context(), l.scope, "none")
	wantRefusal(t, err, apron.NotFound, "Operation not found: none")
	if op, svc, err := l.CancelOperationByID(t.Context(), l.scope, begun); err != nil || op.ID != begun || svc.ID != l.id {
		t.Errorf("operation %s of %s, %v", op.ID, svc.ID, err)
	}
	l.end(t, begun)
	_, _, err = l.CancelOperationByID(t.Context(), l.scope, begun)
	wantRefusal(t, err, apron.State, "Operation "+string(begun)+" has ended: it is SUCCEEDED.")
}
