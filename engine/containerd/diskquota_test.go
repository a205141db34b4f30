package containerd_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/engine/containerd"
	"apron/engine/enginetest"
	"apron/source"
)

// TestDiskQuota has instances write more than they may where the file system forbids it: the
// application gets an error, and nobody is ended.
func TestDiskQuota(t *testing.T) {
	for name, fs := range containerd.FileSystems() {
		t.Run(name, func(t *testing.T) { testDiskQuota(t, fs.Mount(t)) })
	}
}

func testDiskQuota(t *testing.T, at string) {
	needRoot(t)
	r := &rig{dir: newDirIn(t, at), images: newImages(t)}
	r.cfg = containerd.Config{
		Dir: r.dir, Grace: 5 * time.Second, MinFree: 1, DiskLimit: 32 << 20, Images: openImages(t, source.Config{}),
	}
	r.child = startEngine(t, r.dir)
	r.driver = startDriver(t, r.cfg)
	if d, err := r.driver.Describe(t.Context()); err != nil || !strings.Contains(d.Storage, "quotas") {
		t.Errorf("the disk limit is said to be kept %q (%v), want by quotas", d.Storage, err)
	}
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	fill := func(i apron.Instance, path, mib string) error {
		_, err := get(i, "/fill?path="+path+"&mib="+mib)
		return err
	}
	full := func(i apron.Instance) {
		t.Helper()
		if err := fill(i, "/tmp/small", "16"); err != nil {
			t.Errorf("16 of 32 MiB: %v", err)
		}
		err := fill(i, "/tmp/big", "32")
		if err == nil || (!strings.Contains(err.Error(), "quota exceeded") && !strings.Contains(err.Error(), "no space")) {
			t.Errorf("writing 48 of 32 MiB ended with %v, want no space or quota exceeded", err)
		}
	}
	full(i)
	if err := r.driver.Scale(t.Context(), spec, 2); err != nil {
		t.Fatal(err)
	}
	for _, j := range w.Ready(t, spec.Revision, 2) {
		if j.ID != i.ID {
			full(j)
		}
		if j.Restarts != 0 {
			t.Errorf("instance %s was restarted", j.ID)
		}
	}
	if err := r.driver.Scale(t.Context(), spec, 0); err != nil {
		t.Fatal(err)
	}
	w.Ready(t, spec.Revision, 0)

	// A restarted process has a new file system, and the next driver old instances.
	i = runOne(t, r.driver, w, spec)
	_, _ = get(i, "/crash")
	w.Until(t, "the restart", func(all []apron.Instance) bool {
		return slices.ContainsFunc(all, func(i apron.Instance) bool { return i.State == apron.InstanceReady && i.Restarts == 1 })
	})
	r.driver.stop()
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	full(w.Ready(t, spec.Revision, 1)[0])
}
