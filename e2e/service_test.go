package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron/server"
)

// TestImageBecomesURL is the whole walk: a real image, a real instance, a real request.
func TestImageBecomesURL(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	svc := h.create(t, input("web1", image, map[string]string{"VERSION": "one"}))
	if svc.Status != types.ServiceStatusOperationInProgress || aws.ToString(svc.ServiceUrl) == "" {
		t.Errorf("create answered %s, %q", svc.Status, aws.ToString(svc.ServiceUrl))
	}
	svc = h.settled(t, svc.ServiceArn)
	if svc.Status != types.ServiceStatusRunning {
		t.Fatalf("service is %s; events:\n%s", svc.Status, h.events(t, svc))
	}
	status, body, err := h.get(t.Context(), svc, "/")
	if err != nil || status != http.StatusOK || !strings.Contains(body, "version=one") {
		t.Errorf("got %d %q, %v", status, body, err)
	}
	if !strings.Contains(body, "proto=http ") || !strings.Contains(body, "for=127.0.0.1") {
		t.Errorf("forwarded headers are missing: %q", body)
	}
	ops := h.operations(t, svc)
	if len(ops) != 1 || ops[0].Status != types.OperationStatusSucceeded || ops[0].EndedAt == nil {
		t.Errorf("operations: %+v", ops)
	}
	for _, line := range []string{"Service creation started.", "Successfully pulled", "Service status is set to RUNNING."} {
		if !strings.Contains(h.events(t, svc), line) {
			t.Errorf("the event log lacks %q", line)
		}
	}

	gone := h.remove(t, svc)
	if gone.Status != types.ServiceStatusDeleted || gone.DeletedAt == nil {
		t.Errorf("after delete: %s, %v", gone.Status, gone.DeletedAt)
	}
	if left := h.instances(t); len(left) != 0 {
		t.Errorf("instances are left: %q", left)
	}
	if status, body, err := h.get(t.Context(), svc, "/"); err != nil || status != http.StatusNotFound || body != "" {
		t.Errorf("after delete: %d %q, %v; want an empty 404", status, body, err)
	}
}

// TestFailureIsHonest checks what a user reads when a deployment fails, and that delete mends it.
func TestFailureIsHonest(t *testing.T) {
	h := newHome(t, "--start-window=2s")
	image := h.push(t)
	for _, tc := range []struct {
		name, image string
		env         map[string]string
		want        []string
	}{
		{"missing", strings.Replace(image, "web:1", "absent:1", 1), nil, []string{"absent"}},
		{"exits", image, map[string]string{"MODE": "exit", "CODE": "7"}, []string{"exit code: 7", "cannot reach the database"}},
		{"deaf", image, map[string]string{"MODE": "deaf"}, []string{"Health check failed on protocol `TCP` [Port: '8080']", "refused"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := h.settled(t, h.create(t, input("svc-"+tc.name, tc.image, tc.env)).ServiceArn)
			if svc.Status != types.ServiceStatusCreateFailed {
				t.Fatalf("service is %s, want CREATE_FAILED", svc.Status)
			}
			events := h.events(t, svc)
			for _, want := range append(tc.want, "Service status is set to CREATE_FAILED.") {
				if !strings.Contains(events, want) {
					t.Errorf("the event log lacks %q:\n%s", want, events)
				}
			}
			if ops := h.operations(t, svc); len(ops) != 1 || ops[0].Status != types.OperationStatusFailed {
				t.Errorf("operations: %+v", ops)
			}
			eventually(t, "what failed to be gone", func() bool { return len(h.instances(t)) == 0 })
			if gone := h.remove(t, svc); gone.Status != types.ServiceStatusDeleted {
				t.Errorf("after delete: %s", gone.Status)
			}
		})
	}
}

// TestCrashedInstanceIsReplaced lets the application end itself.
func TestCrashedInstanceIsReplaced(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), nil))
	if _, _, err := h.get(t.Context(), svc, "/crash"); err != nil {
		t.Logf("the crashing request: %v", err)
	}
	eventually(t, "the instance to be back", func() bool {
		status, _, err := h.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK
	})
}

// TestMovedTagChangesNothing deletes what the tag named, then lets the instance start again.
func TestMovedTagChangesNothing(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), map[string]string{"VERSION": "kept"}))
	h.unpush(t)
	_, _, _ = h.get(t.Context(), svc, "/crash")
	eventually(t, "the instance to be back", func() bool {
		status, body, err := h.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK && strings.Contains(body, "version=kept")
	})
}

// TestServerKilledUnderLoad kills the control plane while requests run: none may fail, and the
// instance must be the same one afterwards.
func TestServerKilledUnderLoad(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), nil))
	_, before, err := h.get(t.Context(), svc, "/")
	if err != nil {
		t.Fatal(err)
	}
	tr := h.traffic(t, svc, 4)
	more := func(n int64) func() bool {
		n += tr.sent.Load()
		return func() bool { return tr.sent.Load() >= n }
	}
	eventually(t, "load", more(100))
	h.kill(t, "serve")
	eventually(t, "load without a control plane", more(200))
	h.start(t)
	eventually(t, "load under the new control plane", more(200))
	tr.stop()
	t.Logf("%d requests", tr.sent.Load())
	if _, after, err := h.get(t.Context(), svc, "/"); err != nil || after != before {
		t.Errorf("instance before %q, after %q, %v", before, after, err)
	}
	if svc := h.settled(t, svc.ServiceArn); svc.Status != types.ServiceStatusRunning {
		t.Errorf("service is %s", svc.Status)
	}
}

// TestEngineAndRouterComeBack kills the two processes serve watches over.
func TestEngineAndRouterComeBack(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), nil))
	_, before, err := h.get(t.Context(), svc, "/")
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"engine", "router"} {
		old := h.pid(t, role)
		h.kill(t, role)
		eventually(t, role+" to come back", func() bool { return h.pid(t, role) != old })
		local, err := server.OpenLocal(h.data)
		if err != nil {
			t.Fatal(err)
		}
		h.local = local
		eventually(t, "answers after the "+role+" was killed", func() bool {
			status, after, err := h.get(t.Context(), svc, "/")
			return err == nil && status == http.StatusOK && after == before
		})
	}
	if gone := h.remove(t, svc); gone.Status != types.ServiceStatusDeleted {
		t.Errorf("after delete: %s; events:\n%s", gone.Status, h.events(t, svc))
	}
}
