package containerd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"apron"
	"apron/engine/containerd"
	"apron/engine/enginetest"
)

// restarted waits until the instance is ready again after its first restart.
func restarted(t testing.TB, w *enginetest.Watcher, id apron.InstanceID) apron.Instance {
	t.Helper()
	var found apron.Instance
	w.Until(t, "a restart", func(all []apron.Instance) bool {
		at := slices.IndexFunc(all, func(i apron.Instance) bool {
			return i.ID == id && i.State == apron.InstanceReady && i.Restarts == 1
		})
		if at >= 0 {
			found = all[at]
		}
		return at >= 0
	})
	return found
}

// kill ends a process the hard way and waits until it has ended.
func kill(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if n > 0 {
			return
		}
		if err != unix.EINTR {
			t.Fatalf("process %d does not end: %v", pid, err)
		}
	}
}

// noneLeft removes the revision and checks that nothing of its instances is left anywhere.
func (r *rig) noneLeft(t *testing.T, w *enginetest.Watcher, id apron.RevisionID) {
	t.Helper()
	if err := r.driver.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	w.Ready(t, id, 0)
	if left := append(r.left(t), r.leftInEngine(t)...); len(left) != 0 {
		t.Errorf("left on the machine:\n%s", strings.Join(left, "\n"))
	}
}

// leftInEngine lists what containerd, the kernel's mounts and control groups have of instances.
func (r *rig) leftInEngine(t *testing.T) []string {
	t.Helper()
	cl := r.client(t)
	var all []string
	containers, err := cl.Containers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		all = append(all, "container "+c.ID())
	}
	err = cl.SnapshotService("overlayfs").Walk(t.Context(), func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindActive {
			all = append(all, "snapshot "+i.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, r.dir+"/run/spare/") {
			continue // nobody's yet
		}
		if strings.HasSuffix(strings.Fields(line)[4], "/null-netns") {
			continue // gVisor's, for all sandboxes there will be
		}
		if strings.Contains(line, r.dir+"/") || strings.Contains(line, "/run/"+r.bridge(t)+"/") {
			all = append(all, "mount "+strings.Fields(line)[4])
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/%s/services/*", "/sys/fs/cgroup/%s/services/*"} {
		found, err := filepath.Glob(fmt.Sprintf(pattern, r.bridge(t)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if st, err := os.Stat(f); err == nil && st.IsDir() {
				all = append(all, "control group "+f)
			}
		}
	}
	return all
}

func (r *rig) client(t testing.TB) *client.Client {
	t.Helper()
	cl, err := client.New(containerd.SocketPath(r.dir), client.WithDefaultNamespace(containerd.DefaultNamespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

// TestShimMayDie kills the process that keeps an instance: the instance goes with it and comes back.
func TestShimMayDie(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	pid := r.pid(t, i.ID)
	kill(t, parentOf(t, pid))
	mustGet(t, restarted(t, w, i.ID), "/")
	wantReason(t, w, i.ID, apron.InstanceFailed, "its runtime was killed from outside")
	if runs(pid) {
		t.Error("the process of the dead shim still runs")
	}
	r.noneLeft(t, w, spec.Revision)
}

// wantReason fails unless the instance has failed once, for the reason.
func wantReason(t *testing.T, w *enginetest.Watcher, id apron.InstanceID, state apron.InstanceState, want string) {
	t.Helper()
	var reasons []string
	for _, was := range w.History(id) {
		if was.State == state && was.Failure != nil && was.Failure.Exited {
			reasons = append(reasons, was.Failure.Summary())
		}
	}
	if len(reasons) != 1 || reasons[0] != "The instance was ended because "+want+"." {
		t.Errorf("it failed with %q, want %q", reasons, want)
	}
}

// TestShimAndWhoClearsAwayMayDie kills a shim, and then the program that the engine child has clear
// away after it: what that leaves must not keep the instance from coming back, nor stay.
func TestShimAndWhoClearsAwayMayDie(t *testing.T) {
	for name, next := range map[string]func(*testing.T, *rig, *enginetest.Watcher, apron.Instance){
		"restart": func(t *testing.T, _ *rig, w *enginetest.Watcher, i apron.Instance) {
			mustGet(t, restarted(t, w, i.ID), "/")
			for _, was := range w.History(i.ID) {
				if was.Failure != nil && was.Failure.Start != "" {
					t.Errorf("a start failed: %s", was.Failure.Start)
				}
			}
		},
		"removal": func(*testing.T, *rig, *enginetest.Watcher, apron.Instance) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			_, runc, err := containerd.Binaries(r.dir)
			if err != nil {
				t.Fatal(err)
			}
			w := enginetest.StartWatch(t, r.driver)
			spec := enginetest.SpecOf(r.serveImage(t))
			i := runOne(t, r.driver, w, spec)
			sabotage(t, runc, `kill -9 $PPID`, "delete")
			pid := r.pid(t, i.ID)
			kill(t, parentOf(t, pid))
			next(t, r, w, i)
			r.noneLeft(t, w, spec.Revision)
			if runs(pid) {
				t.Error("the process of the dead shim still runs")
			}
			if _, err := os.Stat(runc + ".delete"); err == nil {
				t.Error("nobody asked runc to delete anything, nothing is tested")
			}
		})
	}
}

// runs reports whether a process is there and has not ended: one that nobody waited for yet has.
func runs(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// TestEngineAndShimsMayDie leaves processes that nobody knows how to wait for.
func TestEngineAndShimsMayDie(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	die := func() {
		t.Helper()
		pid := r.pid(t, i.ID)
		shim := parentOf(t, pid)
		r.driver.stop()
		r.child.kill()
		kill(t, shim)
		r.child = startEngine(t, r.dir)
		r.driver = startDriver(t, r.cfg)
		w = enginetest.StartWatch(t, r.driver)
		restarts := i.Restarts + 1
		w.Until(t, "a restart", func(all []apron.Instance) bool {
			if len(all) == 1 {
				i = all[0]
			}
			return len(all) == 1 && i.State == apron.InstanceReady && i.Restarts == restarts
		})
		mustGet(t, i, "/")
		if runs(pid) {
			t.Error("the process of the dead shim still runs")
		}
	}
	die()
	die() // of one that was restarted before it is known that it had been started
	wantReason(t, w, i.ID, apron.InstanceStarting, "the machine was restarted, or its runtime was killed from outside, while nobody watched")
	for _, was := range w.History(i.ID) {
		if was.State == apron.InstanceFailed {
			t.Errorf("it is reported as failed, so that requests do not wait for it: %+v", was)
		}
	}
	r.noneLeft(t, w, spec.Revision)
}

// TestRuncMayDie kills runc in the middle of the first create and the first delete it is asked for.
func TestRuncMayDie(t *testing.T) {
	r := newRig(t)
	_, runc, err := containerd.Binaries(r.dir)
	if err != nil {
		t.Fatal(err)
	}
	sabotage(t, runc, `"$real" "$@" & sleep 0.02; kill -9 $!`, "create", "delete")
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Scale(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	w.Failed(t, spec.Revision, apron.InstanceFailed, func(f apron.Failure) bool { return f.Start != "" })
	mustGet(t, w.Ready(t, spec.Revision, 1)[0], "/")
	r.noneLeft(t, w, spec.Revision)
}

// sabotage puts a script in runc's place that does harm in its stead, once for each command.
func sabotage(t *testing.T, runc, harm string, commands ...string) {
	t.Helper()
	if err := os.Rename(runc, runc+".real"); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		if err := os.WriteFile(runc+"."+c, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `#!/bin/sh
real="$0.real"
for word in "$@"; do
	if rm "$0.$word" 2>/dev/null; then
		` + harm + `
		exit 137
	fi
done
exec "$real" "$@"
`
	if err := os.WriteFile(runc+".new", []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(runc+".new", runc); err != nil {
		t.Fatal(err)
	}
}

// TestRebootIsSurvived takes away what a reboot takes away, and leaves what is on disk.
func TestRebootIsSurvived(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Scale(t.Context(), spec, 2); err != nil {
		t.Fatal(err)
	}
	before := w.Ready(t, spec.Revision, 2)
	r.driver.stop()
	r.child.kill()
	r.reboot(t, before)
	r.child = startEngine(t, r.dir)
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	for _, i := range w.Ready(t, spec.Revision, 2) {
		mustGet(t, i, "/")
		if i.Restarts != 1 {
			t.Errorf("instance after a reboot reads %+v", i)
		}
	}
	r.noneLeft(t, w, spec.Revision)
}

// reboot kills all processes, and empties what the kernel or a temporary file system keeps.
func (r *rig) reboot(t *testing.T, all []apron.Instance) {
	t.Helper()
	for _, i := range all {
		pid := r.pid(t, i.ID)
		kill(t, parentOf(t, pid)) // the shim first, so that nothing is tidied up
		kill(t, pid)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, r.dir+"/") || strings.HasPrefix(at, "/run/"+r.bridge(t)+"/") {
			if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll("/run/" + r.bridge(t)); err != nil {
		t.Fatal(err)
	}
	links, err := containerd.Links()
	if err != nil {
		t.Fatal(err)
	}
	bridge, err := netlink.LinkByName(r.bridge(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index || l.Attrs().Index == bridge.Attrs().Index {
			_ = netlink.LinkDel(l) // the other ends go by themselves
		}
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	c.DelTable(&nftables.Table{Name: r.bridge(t), Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestOrphansAreRemoved makes one of every kind by hand, and some that are not Apron's to remove.
func TestOrphansAreRemoved(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	r.driver.stop()
	orphan := strings.Repeat("0f", 16)
	bridge, err := netlink.LinkByName(r.bridge(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"apr" + orphan[:12], "foreign" + orphan[:8]} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = name, bridge.Attrs().Index
		link := netlink.NewVeth(attrs)
		link.PeerName = "p" + name[len(name)-9:] + name[:2]
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netlink.LinkDel(link) }) // one of them is gone
	}
	for _, path := range []string{"log/instance/" + orphan + ".0000000000000000.log", "run/netns/" + orphan, "run/userns/" + orphan, "run/spare/" + orphan + ".net", "log/instance/README"} {
		if err := os.WriteFile(filepath.Join(r.dir, path), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cl := r.client(t)
	sn := cl.SnapshotService("overlayfs")
	keep := func(key string) error {
		_, err := sn.Prepare(t.Context(), key, "", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "test"}))
		return err
	}
	lease := func(id string, labels map[string]string) error {
		_, err := cl.LeasesService().Create(t.Context(), leases.WithID(id), leases.WithExpiration(time.Hour), leases.WithLabels(labels))
		return err
	}
	for _, err := range []error{keep(orphan), keep("build-step"), lease("pull", nil), lease("build", map[string]string{"buildkit/lease.temporary": "x"})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/" + r.bridge(t) + "/services")
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) == 0 {
		groups = []string{"/sys/fs/cgroup/" + r.bridge(t) + "/services"}
	}
	for _, g := range groups {
		if err := os.MkdirAll(filepath.Join(g, "gone", orphan), 0o755); err != nil {
			t.Fatal(err)
		}
	}

	bundle := filepath.Join("/run", r.bridge(t), "state/io.containerd.runtime.v2.task/apron", "."+orphan)
	if err := os.MkdirAll(filepath.Join(bundle, "some"), 0o700); err != nil {
		t.Fatal(err)
	}

	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	if again := w.Ready(t, spec.Revision, 1)[0]; again.ID != i.ID || again.Restarts != 0 {
		t.Errorf("the instance reads %+v, was %+v", again, i)
	}
	for _, left := range append(r.left(t), r.leftInEngine(t)...) {
		if strings.Contains(left, orphan) || strings.Contains(left, "apr"+orphan[:12]) || strings.HasSuffix(left, "/gone") {
			t.Errorf("left on the machine: %s", left)
		}
	}
	if _, err := os.Stat(filepath.Join(r.dir, "run/spare", orphan+".net")); err == nil {
		t.Error("an earlier driver's spare network is left")
	}
	for _, path := range []string{filepath.Join(r.dir, "log/instance/README"), "/sys/class/net/foreign" + orphan[:8]} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("what was not Apron's has been removed: %v", err)
		}
	}
	if _, err := sn.Stat(t.Context(), "build-step"); err != nil {
		t.Errorf("a build's snapshot has been removed: %v", err)
	}
	all, err := cl.LeasesService().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, l := range all {
		ids = append(ids, l.ID)
	}
	if slices.Contains(ids, "pull") || !slices.Contains(ids, "build") {
		t.Errorf("leases are %v, want the build's and not the pull's", ids)
	}
}

// TestSpareNetworkIsNotLost fails to start an instance for want of its image: the network that was at hand for
// it is still at hand for others, or is removed with the driver.
func TestSpareNetworkIsNotLost(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	spares := func() []string {
		found, err := filepath.Glob(filepath.Join(r.dir, "run/spare/*.net"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for deadline := time.Now().Add(30 * time.Second); len(spares()) < 2; { // of which one may be on its way still
		if time.Now().After(deadline) {
			t.Fatal("no network was made in advance")
		}
		<-time.After(10 * time.Millisecond)
	}
	if err := r.client(t).ImageService().Delete(t.Context(), "apron/"+string(spec.Revision)); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Scale(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	w.Failed(t, spec.Revision, apron.InstanceFailed, func(f apron.Failure) bool { return strings.Contains(f.Start, "find image") })
	r.noneLeft(t, w, spec.Revision)
	r.driver.stop()
	if left := spares(); len(left) != 0 {
		t.Errorf("networks that nobody has are left: %q", left)
	}
}

// TestStartingWaitsForItsTurn restarts an instance while as many are being made as may be: it is on its way
// all the same, and requests are to wait for it.
func TestStartingWaitsForItsTurn(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	release := r.driver.OccupySlots()
	kill(t, r.pid(t, i.ID))
	w.Until(t, "the instance to be on its way", func(all []apron.Instance) bool {
		return all[0].State == apron.InstanceStarting && all[0].Restarts == 1
	})
	release()
	mustGet(t, restarted(t, w, i.ID), "/")
	r.noneLeft(t, w, spec.Revision)
}

// TestHalfMadeNetwork leaves what a driver leaves that is killed over connecting an instance, whose container it
// has made already: a link with the instance's name that is not up yet, and nothing of the process.
func TestHalfMadeNetwork(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	r.driver.stop()
	kill(t, r.pid(t, i.ID))
	link, err := netlink.LinkByName("apr" + string(i.ID[:12]))
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	again := w.Ready(t, spec.Revision, 1)[0]
	if again.ID != i.ID {
		t.Errorf("instance %s is ready, want %s", again.ID, i.ID)
	}
	mustGet(t, again, "/")
	r.noneLeft(t, w, spec.Revision)
}
