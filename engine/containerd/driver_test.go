package containerd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"apron"
	"apron/engine"
	"apron/engine/containerd"
	"apron/engine/enginetest"
	"apron/source"
)

// rig is one engine child, one driver and a registry.
type rig struct {
	dir    string
	cfg    containerd.Config
	child  *child
	driver *driver
	images *images
}

func newRig(t testing.TB) *rig {
	t.Helper()
	needRoot(t)
	r := &rig{dir: newDir(t), images: newImages(t)}
	r.cfg = containerd.Config{Dir: r.dir, Grace: 5 * time.Second, Images: openImages(t, source.Config{})}
	r.child = startEngine(t, r.dir)
	r.driver = startDriver(t, r.cfg)
	return r
}

// openImages returns what opens images of any registry.
func openImages(t testing.TB, cfg source.Config) func(context.Context, string) (containerd.Repository, error) {
	t.Helper()
	cfg.Backoff = 10 * time.Millisecond
	resolver, err := source.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(resolver.Close)
	return func(ctx context.Context, reference string) (containerd.Repository, error) {
		return resolver.Open(ctx, reference)
	}
}

func (r *rig) serveImage(t testing.TB) apron.Image {
	return r.images.push(t, "serve", v1.Config{Entrypoint: []string{"/app"}, Cmd: []string{"serve"}})
}

func (r *rig) harness(t *testing.T) enginetest.Harness {
	h := enginetest.Harness{
		Serve:  r.serveImage(t),
		Exit:   r.images.push(t, "exit", v1.Config{Entrypoint: []string{"/app", "exit"}}),
		Copy:   []string{"/app", "copy"},
		Silent: r.images.push(t, "silent", v1.Config{Cmd: []string{"/app", "silent"}}),
		Crash:  func(t *testing.T, i apron.Instance) { _, _ = get(i, "/crash") },
		Process: func(t *testing.T, id apron.InstanceID) string {
			return fmt.Sprint(r.pid(t, id))
		},
		Reopen: func(t *testing.T) engine.Engine {
			r.driver.stop()
			r.driver = startDriver(t, r.cfg)
			return r.driver
		},
		Left: r.left,
	}
	h.Missing = h.Serve
	h.Missing.Digest = "sha256:" + strings.Repeat("0", 64)
	h.Missing.Reference = r.images.host + "/serve@" + h.Missing.Digest
	return h
}

// pid returns the process id of an instance's first process, from the shim's own record.
func (r *rig) pid(t testing.TB, id apron.InstanceID) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/run", r.bridge(t), "state/io.containerd.runtime.v2.task/apron", string(id), "init.pid"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// left lists what is on the machine for instances.
func (r *rig) left(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{
		r.dir + "/run/netns/*", r.dir + "/run/userns/*", r.dir + "/run/instance/*", r.dir + "/log/instance/*",
		"/run/" + r.bridge(t) + "/state/io.containerd.runtime.v2.task/apron/*",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	links, err := containerd.Links()
	if err != nil {
		t.Fatal(err)
	}
	bridge := -1
	for _, l := range links {
		if l.Attrs().Name == r.bridge(t) {
			bridge = l.Attrs().Index
		}
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge && !strings.HasPrefix(l.Attrs().Name, "aps") { // nobody's yet
			all = append(all, "link "+l.Attrs().Name)
		}
	}
	return append(all, shims(t, r.dir)...)
}

// bridge returns the name of the data directory's bridge.
func (r *rig) bridge(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, "engine", "network.json"))
	if err != nil {
		t.Fatal(err)
	}
	var state struct{ Bridge string }
	if err := json.Unmarshal(b, &state); err != nil || state.Bridge == "" {
		t.Fatalf("network state %q: %v", b, err)
	}
	return state.Bridge
}

// shims lists the processes that name the data directory in their arguments, but for this one's
// child.
func shims(t testing.TB, dir string) []string {
	t.Helper()
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, path := range cmdlines {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), dir+"/") {
			all = append(all, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return all
}

// get asks an instance and returns its answer.
func get(i apron.Instance, path string) (string, error) {
	cl := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := cl.Get("http://" + i.Addr.String() + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, b)
	}
	return string(b), err
}

func TestDriver(t *testing.T) {
	needRoot(t)
	enginetest.Run(t, func(t *testing.T) (engine.Engine, enginetest.Harness) {
		r := newRig(t)
		return r.driver, r.harness(t)
	})
}
