package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

// pushVersion pushes the test application to web:1, as an image of its own for each port it says.
func (h *home) pushVersion(t testing.TB, port uint16) (digest string) {
	t.Helper()
	_, digest, err := h.local.Push(t.Context(), appBinary(t), "web:1", port)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// serves returns once the service runs the digest and no operation is in progress.
func (h *home) serves(t testing.TB, svc *types.Service, digest string) {
	t.Helper()
	eventually(t, "the push to be deployed", func() bool {
		list, err := h.local.Revisions(t.Context(), aws.ToString(svc.ServiceArn))
		if err != nil {
			t.Fatal(err)
		}
		return list[0].Serving && list[0].Outcome == "DEPLOYED" && list[0].Digest == digest
	})
}

// TestPushDeploys pushes to the tag that two services follow, one of them paused at first.
func TestPushDeploys(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	svc := h.running(t, input("web1", image, nil))
	asleep := h.running(t, input("web2", image, nil))
	if _, err := h.client.PauseService(t.Context(), &apprunner.PauseServiceInput{ServiceArn: asleep.ServiceArn}); err != nil {
		t.Fatal(err)
	}
	h.settled(t, asleep.ServiceArn)
	_, before, err := h.get(t.Context(), svc, "/")
	if err != nil {
		t.Fatal(err)
	}

	tr := h.traffic(t, svc, 2)
	digest := h.pushVersion(t, 8081)
	pushed := time.Now()
	eventually(t, "another instance to answer", func() bool {
		status, body, err := h.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK && !strings.Contains(body, instanceOf(before))
	})
	t.Logf("deployed %s after the push", time.Since(pushed).Round(time.Millisecond))
	h.serves(t, svc, digest)
	h.pushVersion(t, 8081) // the same
	tr.stop()
	if ops := h.operations(t, svc); len(ops) != 2 || ops[0].Type != types.OperationTypeStartDeployment {
		t.Errorf("operations %+v", ops)
	}
	if ops := h.operations(t, asleep); len(ops) != 2 {
		t.Errorf("operations of a paused service %+v", ops)
	}

	// After a crash nobody has to push again for what was pushed.
	h.kill(t, "serve")
	h.start(t)
	if _, err := h.client.ResumeService(t.Context(), &apprunner.ResumeServiceInput{ServiceArn: asleep.ServiceArn}); err != nil {
		t.Fatal(err)
	}
	h.settled(t, asleep.ServiceArn)
	digest = h.pushVersion(t, 8082)
	h.serves(t, svc, digest)
	h.serves(t, asleep, digest)
	if ops := h.operations(t, asleep); len(ops) != 4 {
		t.Errorf("operations of a service that was resumed %+v", ops)
	}
}

// instanceOf returns the part of the test application's answer that names the instance.
func instanceOf(body string) string {
	_, rest, _ := strings.Cut(body, "instance=")
	name, _, _ := strings.Cut(rest, " ")
	return "instance=" + name
}

// TestOtherRegistryIsPolled follows a tag in the embedded registry of another server, which does not
// tell of pushes.
func TestOtherRegistryIsPolled(t *testing.T) {
	other := newHome(t)
	other.push(t)
	h := newHome(t, "--poll-interval=1s", "--mirrors=registry.example.com=http://"+other.local.Key.ID+":"+other.local.Key.Secret+"@"+other.local.Listen)
	svc := h.running(t, input("web1", "registry.example.com/web:1", nil))
	digest := other.pushVersion(t, 8081)
	h.serves(t, svc, digest)
	if ops := h.operations(t, svc); len(ops) != 2 || ops[0].Type != types.OperationTypeStartDeployment {
		t.Errorf("operations %+v", ops)
	}
}
