package e2e_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron/store/storetest"
)

// traffic sends requests to a service until stop, and fails the test for every one that does not
// succeed.
type traffic struct {
	sent atomic.Int64
	stop func()
}

func (h *home) traffic(t *testing.T, svc *types.Service, clients int) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	tr := &traffic{stop: func() { cancel(); wg.Wait() }}
	site := &home{local: h.local} // its own: h changes when the server is started again
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				status, body, err := site.get(ctx, svc, "/")
				if errors.Is(err, context.Canceled) {
					return
				}
				tr.sent.Add(1)
				if err != nil || status != http.StatusOK {
					t.Errorf("request failed: %d %q, %v", status, body, err)
				}
			}
		})
	}
	return tr
}

// TestUpdateLosesNoRequest replaces an application's version while requests run, then fails to.
func TestUpdateLosesNoRequest(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	svc := h.running(t, input("web1", image, map[string]string{"VERSION": "one"}))
	tr := h.traffic(t, svc, 4)
	update := func(env map[string]string) *types.Service {
		t.Helper()
		out, err := h.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{
			ServiceArn: svc.ServiceArn, SourceConfiguration: input("web1", image, env).SourceConfiguration,
		})
		if err != nil {
			t.Fatalf("update service: %v", err)
		}
		if out.Service.Status != types.ServiceStatusOperationInProgress || out.OperationId == nil {
			t.Errorf("update answered %s, operation %v", out.Service.Status, out.OperationId)
		}
		return h.settled(t, svc.ServiceArn)
	}
	if svc := update(map[string]string{"VERSION": "two"}); svc.Status != types.ServiceStatusRunning {
		t.Errorf("after an update: %s", svc.Status)
	}
	h.answers(t, svc, "version=two")

	// A version that ends at once: the one before it serves on, and is what Describe shows.
	after := update(map[string]string{"MODE": "exit", "CODE": "9"})
	env := after.SourceConfiguration.ImageRepository.ImageConfiguration.RuntimeEnvironmentVariables
	if after.Status != types.ServiceStatusRunning || env["VERSION"] != "two" {
		t.Errorf("after a failed update: %s, %v", after.Status, env)
	}
	if ops := h.operations(t, svc); ops[0].Status != types.OperationStatusRollbackSucceeded {
		t.Errorf("operation is %s", ops[0].Status)
	}
	if events := h.events(t, svc); !strings.Contains(events, "exit code: 9") {
		t.Errorf("the event log lacks the reason:\n%s", events)
	}
	h.answers(t, svc, "version=two")
	tr.stop()
	t.Logf("%d requests", tr.sent.Load())
	eventually(t, "what does not serve to be gone", func() bool { return len(h.instances(t)) == 1 })
}

// TestPauseAndResume stops a service's instances and starts them again, the same version.
func TestPauseAndResume(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), map[string]string{"VERSION": "one"}))
	if _, err := h.client.PauseService(t.Context(), &apprunner.PauseServiceInput{ServiceArn: svc.ServiceArn}); err != nil {
		t.Fatal(err)
	}
	if svc := h.settled(t, svc.ServiceArn); svc.Status != types.ServiceStatusPaused {
		t.Fatalf("after pause: %s; events:\n%s", svc.Status, h.events(t, svc))
	}
	if status, body, err := h.get(t.Context(), svc, "/"); err != nil || status != http.StatusNotFound || body != "" {
		t.Errorf("a paused service answers %d %q, %v", status, body, err)
	}
	if left := h.instances(t); len(left) != 0 {
		t.Errorf("instances of a paused service: %q", left)
	}
	// A restart must not wake it.
	h.kill(t, "serve")
	h.start(t)
	if left := h.instances(t); len(left) != 0 {
		t.Errorf("instances of a paused service after a restart: %q", left)
	}
	if _, err := h.client.ResumeService(t.Context(), &apprunner.ResumeServiceInput{ServiceArn: svc.ServiceArn}); err != nil {
		t.Fatal(err)
	}
	if svc := h.settled(t, svc.ServiceArn); svc.Status != types.ServiceStatusRunning {
		t.Fatalf("after resume: %s; events:\n%s", svc.Status, h.events(t, svc))
	}
	h.answers(t, svc, "version=one")
}

// TestDownThenUp stops everything, as before a reboot, and starts again: services come back, and who asks
// for one that is on its way waits for it.
func TestDownThenUp(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), map[string]string{"VERSION": "one"}))
	down(t, h.data)
	h.start(t)
	h.answers(t, svc, "version=one")
	if again := h.settled(t, svc.ServiceArn); again.Status != types.ServiceStatusRunning ||
		aws.ToString(again.ServiceUrl) != aws.ToString(svc.ServiceUrl) {
		t.Errorf("after down and up: %s at %s", again.Status, aws.ToString(again.ServiceUrl))
	}
}

// answers fails the test unless the service answers 200 with the text.
func (h *home) answers(t *testing.T, svc *types.Service, want string) {
	t.Helper()
	status, body, err := h.get(t.Context(), svc, "/")
	if err != nil || status != http.StatusOK || !strings.Contains(body, want) {
		t.Errorf("got %d %q, %v; want %s", status, body, err, want)
	}
}

// TestOnPostgres walks through a service's life with the store in Postgres, and a crash on the way.
func TestOnPostgres(t *testing.T) {
	h := newHome(t, "--store="+storetest.Postgres(t))
	svc := h.running(t, input("web1", h.push(t), map[string]string{"VERSION": "one"}))
	h.kill(t, "serve")
	h.start(t)
	h.answers(t, svc, "version=one")
	if gone := h.remove(t, svc); gone.Status != types.ServiceStatusDeleted {
		t.Errorf("after delete: %s; events:\n%s", gone.Status, h.events(t, svc))
	}
}
