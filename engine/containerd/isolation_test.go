package containerd_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"apron"
	"apron/engine"
	"apron/engine/containerd"
	"apron/engine/enginetest"
)

// runOne prepares a revision and waits until one instance of it is ready.
func runOne(t testing.TB, d engine.Engine, w *enginetest.Watcher, spec engine.Spec) apron.Instance {
	t.Helper()
	if err := d.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := d.Scale(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	return w.Ready(t, spec.Revision, 1)[0]
}

func mustGet(t testing.TB, i apron.Instance, path string) string {
	t.Helper()
	s, err := get(i, path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	return s
}

func TestInstancesAreIsolated(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	image := r.serveImage(t)
	a := runOne(t, r.driver, w, enginetest.SpecOf(image))
	b := runOne(t, r.driver, w, enginetest.SpecOf(image))
	if _, err := get(b, "/"); err != nil {
		t.Fatalf("the host does not reach an instance: %v", err)
	}
	targets := map[string]string{"another instance": b.Addr.String()}
	for what, ip := range hostAddresses(t) {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		targets["the host at "+what] = l.Addr().String()
	}
	if len(targets) < 2 {
		t.Fatal("found no address of the host to try")
	}
	for what, addr := range targets {
		if got := mustGet(t, a, "/dial?addr="+addr); !strings.HasPrefix(got, "error") {
			t.Errorf("an instance reaches %s at %s", what, addr)
		}
	}
	if got := mustGet(t, a, "/dial?addr="+a.Addr.String()); got != "connected" {
		t.Errorf("an instance does not reach itself: %s", got)
	}
	if got := mustGet(t, a, "/dial?addr=127.0.0.1:8080"); got != "connected" {
		t.Errorf("an instance has no loopback: %s", got)
	}
}

// hostAddresses returns the host's own addresses by interface, the bridge's among them.
func hostAddresses(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	ifaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifaces {
		addrs, err := i.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
				found[i.Name] = n.IP.String()
			}
		}
	}
	return found
}

func TestInstancesAreConfined(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.images.push(t, "user", v1.Config{Entrypoint: []string{"/app"}, User: "web"}))
	spec.MilliCPU, spec.MemoryMiB = 250, 512
	spec.Env = append(spec.Env, "GREETING=hello world")
	i := runOne(t, r.driver, w, spec)
	status := map[string]string{}
	for line := range strings.Lines(mustGet(t, i, "/file?path=/proc/self/status")) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			status[k] = strings.TrimSpace(v)
		}
	}
	for key, want := range map[string]string{
		"Seccomp": "2", "NoNewPrivs": "1", "NSpid": "1", "Uid": "1234\t1234\t1234\t1234",
		"CapEff": "0000000000000000", "CapBnd": "00000000a00405fb",
	} {
		if status[key] != want {
			t.Errorf("%s is %q, want %q", key, status[key], want)
		}
	}
	if uid := hostUID(t, r.pid(t, i.ID)); uid < 524_288+1234 {
		t.Errorf("the process is the host's user %d", uid)
	}
	if got := mustGet(t, i, "/env?name=GREETING"); got != "hello world" {
		t.Errorf("environment has %q", got)
	}
	if got := mustGet(t, i, "/file?path=/etc/hostname"); strings.TrimSpace(got) != string(i.ID) {
		t.Errorf("host name is %q", got)
	}
	if _, err := get(i, "/write?path=/etc/hosts"); err == nil {
		t.Error("the hosts file can be written")
	}
	if _, err := get(i, "/write?path=/tmp/x"); err != nil {
		t.Errorf("/tmp cannot be written: %v", err)
	}
	for file, want := range r.limitFiles(t, spec, i) {
		b, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("%s is %q (%v), want %q", file, b, err, want)
		}
	}
	logs := filepath.Join(r.dir, "log", "instance", string(i.ID)+".0000000000000000.log")
	if st, err := os.Stat(logs); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("log file: %v, %v", st, err)
	}
}

// TestEscapesFail has an instance's root try the classic ways out; see testdata/app/attack.go.
func TestEscapesFail(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	for _, user := range []string{"", "web"} {
		spec := enginetest.SpecOf(r.images.push(t, "attack", v1.Config{Entrypoint: []string{"/app"}, User: user}))
		lines := strings.Split(strings.TrimSpace(mustGet(t, runOne(t, r.driver, w, spec), "/attack")), "\n")
		last := len(lines) - 1
		for _, worked := range lines[:last] {
			t.Errorf("user %q can: %s", user, worked)
		}
		var n int
		if _, err := fmt.Sscanf(lines[last], "tried %d", &n); err != nil || n < 40 {
			t.Errorf("the attacks ended with %q, want the count of at least 40", lines[last])
		}
	}
}

// hostUID returns the user of a process as the host sees it.
func hostUID(t testing.TB, pid int) (uid uint32) {
	t.Helper()
	st, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	return st.Sys().(*syscall.Stat_t).Uid
}

// TestInstancesHaveIDsOfTheirOwn checks what a user namespace must not change: who owns the image's
// files, that low ports can be had, and that a user beyond the usual range works.
func TestInstancesHaveIDsOfTheirOwn(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	seen := map[uint32]bool{}
	for _, user := range []string{"", "web", "1000770000:0"} {
		spec := enginetest.SpecOf(r.images.push(t, "ids", v1.Config{Entrypoint: []string{"/app"}, User: user}))
		spec.Port, spec.Env = 80, []string{"PORT=80"}
		i := runOne(t, r.driver, w, spec)
		owner := mustGet(t, i, "/owner?path=/app")
		if want := "0:0"; owner != want {
			t.Errorf("user %q finds its program owned by %s, want %s", user, owner, want)
		}
		uid := hostUID(t, r.pid(t, i.ID))
		if uid < 524_288 || seen[uid/65_536] {
			t.Errorf("user %q is the host's user %d, of a range that another instance has or that is not Apron's", user, uid)
		}
		seen[uid/65_536] = true
		if _, err := get(i, "/write?path=/tmp/mine"); err != nil {
			t.Errorf("user %q cannot write to /tmp: %v", user, err)
		}
		if _, err := get(i, "/write?path=/dev/stdout"); err != nil {
			t.Errorf("user %q cannot open its output again: %v", user, err)
		}
		_, _ = get(i, "/crash") // the next root file system must be its own again
		w.Until(t, "the restart", func(all []apron.Instance) bool {
			return slices.ContainsFunc(all, func(o apron.Instance) bool { return o.ID == i.ID && o.Restarts == 1 && o.State == apron.InstanceReady })
		})
		if owner := mustGet(t, i, "/owner?path=/app"); owner != "0:0" {
			t.Errorf("after a restart user %q finds its program owned by %s", user, owner)
		}
	}
}

// limitFiles says what the control files of an instance must contain.
func (r *rig) limitFiles(t *testing.T, spec engine.Spec, i apron.Instance) map[string]string {
	t.Helper()
	links, err := containerd.Links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		tree := filepath.Join(l.Attrs().Name, "services", string(spec.Service), string(i.ID))
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup/pids", tree)); err == nil {
			at := func(controller, file string) string { return filepath.Join("/sys/fs/cgroup", controller, tree, file) }
			return map[string]string{
				at("cpu", "cpu.cfs_quota_us"):         "25000",
				at("memory", "memory.limit_in_bytes"): fmt.Sprint(512 << 20),
				at("pids", "pids.max"):                "1024",
			}
		}
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", tree)); err == nil {
			at := func(file string) string { return filepath.Join("/sys/fs/cgroup", tree, file) }
			return map[string]string{
				at("cpu.max"): "25000 100000", at("memory.max"): fmt.Sprint(512 << 20), at("pids.max"): "1024",
			}
		}
	}
	t.Fatal("the instance has no control group")
	return nil
}
