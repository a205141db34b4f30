package containerd_test

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"

	"apron"
	"apron/engine/enginetest"
)

// reserved waits until there are n instances that only have to be started, and the driver knows.
func (r *rig) reserved(t testing.TB, cl *client.Client, n int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for made := -1; made != n || r.driver.InReserve() != n; {
		if time.Now().After(deadline) {
			t.Fatalf("%d instances are in reserve, of which the driver would start %d, want %d", made, r.driver.InReserve(), n)
		}
		made = 0
		all, err := cl.Containers(t.Context(), `labels."apron.reserved"==yes`)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			task, err := c.Task(t.Context(), nil)
			if err != nil {
				continue // not yet
			}
			if status, err := task.Status(t.Context()); err == nil && status.Status == client.Created {
				made++
			}
		}
	}
}

func TestReserve(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	if err := r.driver.Reserve(t.Context(), spec, 1); err == nil {
		t.Error("instances of a revision that was not prepared can be reserved")
	}
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Reserve(t.Context(), spec, 2); err != nil {
		t.Fatal(err)
	}
	cl := r.client(t)
	r.reserved(t, cl, 2)
	w.Ready(t, spec.Revision, 0) // they are nobody's business
	if err := r.driver.Scale(t.Context(), spec, 3); err != nil {
		t.Fatal(err)
	}
	for _, i := range w.Ready(t, spec.Revision, 3) {
		mustGet(t, i, "/")
	}
	r.reserved(t, cl, 2) // made up for
	// The next driver has no use for them, and adopts the others.
	r.driver.stop()
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	w.Ready(t, spec.Revision, 3)
	r.reserved(t, cl, 0)
	if err := r.driver.Reserve(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	r.reserved(t, cl, 1)
	if err := r.driver.Reserve(t.Context(), spec, 0); err != nil {
		t.Fatal(err)
	}
	r.reserved(t, cl, 0)
	if err := r.driver.Reserve(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	r.reserved(t, cl, 1)
	r.noneLeft(t, w, spec.Revision)
}

// successor waits until another instance than this one is ready.
func successor(t testing.TB, w *enginetest.Watcher, was apron.InstanceID) apron.Instance {
	t.Helper()
	var found apron.Instance
	w.Until(t, "a successor", func(all []apron.Instance) bool {
		at := slices.IndexFunc(all, func(i apron.Instance) bool { return i.ID != was && i.State == apron.InstanceReady })
		if at >= 0 {
			found = all[at]
		}
		return at >= 0
	})
	return found
}

// An instance whose process ends is replaced by one of the reserve, which is made up for.
func TestSuccessor(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	first := runOne(t, r.driver, w, spec)
	if err := r.driver.Reserve(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	cl := r.client(t)
	r.reserved(t, cl, 1)
	kill(t, r.pid(t, first.ID))
	second := successor(t, w, first.ID)
	mustGet(t, second, "/")
	if !slices.ContainsFunc(w.History(first.ID), func(i apron.Instance) bool {
		return i.State == apron.InstanceFailed && i.Failure != nil && i.Failure.Exited
	}) {
		t.Errorf("nobody was told why: %+v", w.History(first.ID))
	}
	r.reserved(t, cl, 1)
	// Scale knows that it is one, and the next driver too.
	if err := r.driver.Scale(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	r.driver.stop()
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	if i := w.Ready(t, spec.Revision, 1)[0]; i.ID != second.ID {
		t.Errorf("instance %s is ready, want %s", i.ID, second.ID)
	}
	r.noneLeft(t, w, spec.Revision)
}

func TestFreezeInstance(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	spec.HealthCheck.Interval, spec.HealthCheck.Timeout, spec.HealthCheck.UnhealthyThreshold = time.Second, time.Second, 1
	i := runOne(t, r.driver, w, spec)
	before := len(w.History(i.ID))
	freeze := func(frozen bool) {
		t.Helper()
		if err := r.driver.Freeze(t.Context(), i.ID, frozen); err != nil {
			t.Fatal(err)
		}
	}
	freeze(true)
	freeze(true)
	answered := make(chan error, 1)
	go func() {
		_, err := get(i, "/")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("a frozen instance answered: %v", err)
	case <-time.After(2500 * time.Millisecond): // more than its health check allows
	}
	start := time.Now()
	freeze(false)
	if err := <-answered; err != nil {
		t.Error(err)
	}
	t.Logf("thawed and answered in %s", time.Since(start))
	if reports := w.History(i.ID); len(reports) != before {
		t.Errorf("while it was frozen it was reported %+v", reports[before:])
	}
	// Neither the next driver nor its end minds the ice.
	freeze(true)
	r.driver.stop()
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	w.Ready(t, spec.Revision, 1)
	mustGet(t, i, "/")
	freeze(true)
	r.noneLeft(t, w, spec.Revision)
	if err := r.driver.Freeze(t.Context(), i.ID, true); apron.KindOf(err) != apron.NotFound {
		t.Errorf("freezing an instance that is gone: %v", err)
	}
}

// What could not be made in advance at once is still nobody's: the next driver must not adopt it.
func TestReserveTriesAgain(t *testing.T) {
	r := newRig(t)
	spec := enginetest.SpecOf(r.serveImage(t))
	spec.Command = []string{"/missing"}
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Reserve(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	cl := r.client(t)
	var labels map[string]string
	for deadline := time.Now().Add(30 * time.Second); labels["apron.restarts"] == ""; { // the first try leaves none
		if time.Now().After(deadline) {
			t.Fatalf("it was not tried again: %v", labels)
		}
		all, err := cl.Containers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			if labels, err = c.Labels(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if labels["apron.reserved"] != "yes" {
		t.Errorf("it is not in reserve any more: %v", labels)
	}
	r.driver.stop()
	r.driver = startDriver(t, r.cfg)
	w := enginetest.StartWatch(t, r.driver)
	w.Ready(t, spec.Revision, 0)
	r.noneLeft(t, w, spec.Revision)
}

// TestProcessThatWasNotStarted leaves what a driver leaves that dies between making and starting one.
func TestProcessThatWasNotStarted(t *testing.T) {
	r := newRig(t)
	spec := enginetest.SpecOf(r.serveImage(t))
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := r.driver.Reserve(t.Context(), spec, 1); err != nil {
		t.Fatal(err)
	}
	cl := r.client(t)
	r.reserved(t, cl, 1)
	r.driver.stop()
	all, err := cl.Containers(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%d containers, %v", len(all), err)
	}
	if _, err := all[0].SetLabels(t.Context(), map[string]string{"apron.reserved": ""}); err != nil {
		t.Fatal(err)
	}
	r.driver = startDriver(t, r.cfg)
	w := enginetest.StartWatch(t, r.driver)
	if i := w.Ready(t, spec.Revision, 1)[0]; string(i.ID) != all[0].ID() {
		t.Errorf("instance %s is ready, want %s", i.ID, all[0].ID())
	}
	r.noneLeft(t, w, spec.Revision)
}

// TestReserveThatServes leaves what a driver leaves that dies after it has started an instance of the reserve
// and before it has noted that: the instance may have requests, and the next driver must not remove it.
func TestReserveThatServes(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	cl := r.client(t)
	first := runOne(t, r.driver, w, spec)
	r.driver.stop()
	c, err := cl.LoadContainer(t.Context(), string(first.ID))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetLabels(t.Context(), map[string]string{"apron.reserved": "yes", "apron.ready": ""}); err != nil {
		t.Fatal(err)
	}
	pid := r.pid(t, first.ID)
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	if i := w.Ready(t, spec.Revision, 1)[0]; i.ID != first.ID || r.pid(t, i.ID) != pid {
		t.Errorf("instance %s is ready, want %s and its process %d", i.ID, first.ID, pid)
	}
	mustGet(t, first, "/")
	r.noneLeft(t, w, spec.Revision)
}
