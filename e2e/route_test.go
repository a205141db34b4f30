package e2e_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron"
)

// TestRouteTags changes how the requests of a running service are treated.
func TestRouteTags(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), nil))
	tag := func(key, value string) {
		t.Helper()
		_, err := h.client.TagResource(t.Context(), &apprunner.TagResourceInput{
			ResourceArn: svc.ServiceArn, Tags: []types.Tag{{Key: aws.String(key), Value: aws.String(value)}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	upgrade := func() int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.local.HTTP+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = aws.ToString(svc.ServiceUrl)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "websocket")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if got := upgrade(); got == http.StatusForbidden {
		t.Errorf("an upgrade is answered %d without the tag", got)
	}
	tag("apron:websocket", "off")
	eventually(t, "upgrades to be refused", func() bool { return upgrade() == http.StatusForbidden })
	eventually(t, "the refusal to be counted", func() bool {
		return strings.Contains(h.metrics(t), "\napron_router_ended_requests_total{reason=\"forbidden\"} 1\n")
	})

	tag("apron:access-log", "on")
	eventually(t, "a line in the access log", func() bool {
		if status, _, err := h.get(t.Context(), svc, "/?logged=1"); err != nil || status != http.StatusOK {
			t.Fatalf("got %d %v", status, err)
		}
		lines, err := h.local.Access(apron.ServiceID(aws.ToString(svc.ServiceId)), 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(lines) > 0 && lines[0].Target == "/?logged=1" && lines[0].Status == http.StatusOK &&
			strings.Contains(lines[0].Combined(), `"GET /?logged=1 HTTP/1.1" 200`)
	})
}

// metrics returns what GET /metrics shows.
func (h *home) metrics(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.local.Listen+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: %s %v", res.Status, err)
	}
	return string(b)
}

// TestUpgradeReplacesTheRouter puts another file in the place of the program, as an upgrade does, and
// starts the server again while requests come in.
func TestUpgradeReplacesTheRouter(t *testing.T) {
	h := newHome(t)
	svc := h.running(t, input("web1", h.push(t), nil))
	old := h.pid(t, "router")
	stop, failed := make(chan struct{}), atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if status, body, err := h.get(t.Context(), svc, "/"); err != nil || status != http.StatusOK {
				failed.Add(1)
				t.Logf("got %d %q %v", status, body, err)
			}
		}
	}()

	// The same program from another file is another release.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(t.TempDir(), "apron")
	if out, err := exec.CommandContext(t.Context(), "cp", self, next).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v %s", err, out)
	}
	serve := h.pid(t, "serve")
	if err := syscall.Kill(serve, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.awaitEnd(t, serve)
	cmd := exec.Command(next, append([]string{"serve"}, h.flags...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // it is ended by a signal
	eventually(t, "another router", func() bool { return h.pid(t, "router") != old })
	h.awaitEnd(t, old)
	close(stop)
	<-done
	if n := failed.Load(); n > 0 {
		t.Errorf("%d requests failed", n)
	}
}
