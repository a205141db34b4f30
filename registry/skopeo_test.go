package registry_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestSkopeo drives the registry with a client of another family, the one behind podman and
// buildah: log in, copy an image there and back, copy between repositories, inspect, list, delete.
func TestSkopeo(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("skopeo is not installed, and CI must run everything")
		}
		t.Skip("skopeo is not installed (apt-get install skopeo)")
	}
	s := start(t, t.TempDir())
	dir := t.TempDir()
	policy, auth := filepath.Join(dir, "policy.json"), filepath.Join(dir, "auth.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), skopeo, append([]string{"--policy", policy}, args...)...)
		cmd.Env = append(os.Environ(), "REGISTRY_AUTH_FILE="+auth, "HOME="+dir, "XDG_RUNTIME_DIR="+dir)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := try(args...)
		if err != nil {
			t.Fatalf("skopeo %v: %v: %s", args, err, out)
		}
		return out
	}
	img := randomImage(t, 4096, 2)
	from := filepath.Join(dir, "from")
	idx := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img})
	if _, err := layout.Write(from, idx); err != nil {
		t.Fatal(err)
	}

	// As `aws ecr get-login-password | docker login -u AWS` does.
	run("login", "--tls-verify=false", "-u", "AWS", "-p", token("AKIAALICE:alice-secret"), s.host)
	repo := "docker://" + s.host + "/team/web"
	run("copy", "--dest-tls-verify=false", "oci:"+from, repo+":v1")
	run("copy", "--src-tls-verify=false", "--dest-tls-verify=false", repo+":v1", "docker://"+s.host+"/other:v2")
	run("copy", "--src-tls-verify=false", repo+":v1", "oci:"+filepath.Join(dir, "to")+":v1")
	if got := run("inspect", "--tls-verify=false", "--format", "{{.Digest}}", repo+":v1"); strings.TrimSpace(got) == "" {
		t.Errorf("inspect: %q", got)
	}
	if got := run("list-tags", "--tls-verify=false", repo); !strings.Contains(got, `"v1"`) {
		t.Errorf("tags: %s", got)
	}
	run("delete", "--tls-verify=false", repo+":v1")
	if out, err := try("inspect", "--tls-verify=false", repo+":v1"); err == nil {
		t.Errorf("after delete: %s", out)
	}
	if _, err := remote.Head(s.ref(t, "other:v2"), options(t, asAlice())...); err != nil {
		t.Errorf("the copy in another repository: %v", err)
	}
	if out, err := try("login", "--tls-verify=false", "-u", "AKIAALICE", "-p", "wrong", s.host); err == nil {
		t.Errorf("logged in with a wrong secret: %s", out)
	}
	if got := s.log.String(); got != "" {
		t.Errorf("log: %s", got)
	}
}
