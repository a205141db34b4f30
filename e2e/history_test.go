package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// updated updates the service's image and environment and returns it once the operation has ended.
func (h *home) updated(t testing.TB, svc *types.Service, image string, env map[string]string) *types.Service {
	t.Helper()
	_, err := h.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{
		ServiceArn: svc.ServiceArn, SourceConfiguration: input("", image, env).SourceConfiguration,
	})
	if err != nil {
		t.Fatalf("update service: %v", err)
	}
	return h.settled(t, svc.ServiceArn)
}

// unpush deletes the image that the tag web:1 names from the embedded registry.
func (h *home) unpush(t testing.TB) {
	t.Helper()
	ref, err := name.ParseReference(h.local.Listen + "/web:1")
	if err != nil {
		t.Fatal(err)
	}
	auth := remote.WithAuth(&authn.Basic{Username: h.local.Key.ID, Password: h.local.Key.Secret})
	desc, err := remote.Head(ref, auth)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(ref.Context().Digest(desc.Digest.String()), auth); err != nil {
		t.Fatal(err)
	}
}

// TestRollbackNeedsNoRegistry goes back to a version whose image the registry has lost, also after
// everything was stopped in between.
func TestRollbackNeedsNoRegistry(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	svc := h.running(t, input("web1", image, map[string]string{"VERSION": "one"}))
	if svc := h.updated(t, svc, image, map[string]string{"VERSION": "two"}); svc.Status != types.ServiceStatusRunning {
		t.Errorf("after an update: %s", svc.Status)
	}
	h.updated(t, svc, image, map[string]string{"MODE": "exit", "CODE": "9"})
	h.unpush(t)
	eventually(t, "what does not serve to be gone", func() bool { return len(h.instances(t)) == 1 })
	down(t, h.data)
	h.start(t)
	eventually(t, "the service to be back", func() bool {
		status, _, err := h.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK
	})

	tr := h.traffic(t, svc, 2)
	if _, number, err := h.local.Rollback(t.Context(), aws.ToString(svc.ServiceArn), 1); err != nil || number != 1 {
		t.Fatalf("rollback: revision %d, %v", number, err)
	}
	after := h.settled(t, svc.ServiceArn)
	tr.stop()
	if env := after.SourceConfiguration.ImageRepository.ImageConfiguration.RuntimeEnvironmentVariables; env["VERSION"] != "one" {
		t.Errorf("the service is %s and shows %v; events:\n%s", after.Status, env, h.events(t, svc))
	}
	h.answers(t, svc, "version=one")
	list, err := h.local.Revisions(t.Context(), aws.ToString(svc.ServiceArn))
	if err != nil || len(list) != 4 {
		t.Fatalf("revisions %+v, %v", list, err)
	}
	for n, want := range []string{"DEPLOYED", "ROLLED_BACK", "SUPERSEDED", "SUPERSEDED"} {
		if got := list[n]; got.Number != 4-n || got.Outcome != want || got.Serving != (n == 0) {
			t.Errorf("revision %+v, want %d %s", got, 4-n, want)
		}
	}
	ops, err := h.local.Operations(t.Context(), aws.ToString(svc.ServiceArn), 0)
	if err != nil || len(ops) != 4 || !strings.Contains(ops[1].Reason, "exit code: 9") || ops[0].Reason != "" {
		t.Errorf("operations %+v, %v", ops, err)
	}
	if gone := h.remove(t, svc); gone.Status != types.ServiceStatusDeleted {
		t.Errorf("after delete: %s", gone.Status)
	}
}
