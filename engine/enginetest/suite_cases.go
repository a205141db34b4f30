package enginetest

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/engine"
)

func prepare(t *testing.T, e engine.Engine, spec engine.Spec) {
	t.Helper()
	if err := e.Prepare(t.Context(), spec); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
}

func scale(t *testing.T, e engine.Engine, spec engine.Spec, n int) {
	t.Helper()
	if err := e.Scale(t.Context(), spec, n); err != nil {
		t.Fatalf("Scale to %d: %v", n, err)
	}
}

func remove(t *testing.T, e engine.Engine, spec engine.Spec) {
	t.Helper()
	if err := e.Remove(t.Context(), spec.Revision); err != nil {
		t.Fatalf("Remove: %v", err)
	}
}

func revisions(t *testing.T, e engine.Engine) []apron.RevisionID {
	t.Helper()
	ids, err := e.Revisions(t.Context())
	if err != nil {
		t.Fatalf("Revisions: %v", err)
	}
	slices.Sort(ids)
	return ids
}

func ids(all []apron.Instance) []apron.InstanceID {
	out := make([]apron.InstanceID, 0, len(all))
	for _, i := range all {
		out = append(out, i.ID)
	}
	slices.Sort(out)
	return out
}

func testStartsAndServes(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	prepare(t, e, spec)
	scale(t, e, spec, 2)
	for _, i := range w.Ready(t, spec.Revision, 2) {
		if i.Service != spec.Service || i.Restarts != 0 || i.StartedAt.IsZero() || i.Failure != nil {
			t.Errorf("ready instance reads %+v", i)
		}
		resp, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + i.Addr.String() + "/")
		if err != nil {
			t.Fatalf("request to a ready instance: %v", err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("ready instance answered %d", resp.StatusCode)
		}
		states := w.History(i.ID)
		if len(states) < 2 || states[0].State != apron.InstanceStarting {
			t.Errorf("history does not begin with starting: %s", describe(states))
		}
	}
}

func testRestartsAfterCrash(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	first := w.Ready(t, spec.Revision, 1)[0]
	h.Crash(t, first)
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(f apron.Failure) bool { return f.Exited })
	if failed.Failure.ExitCode != 3 || !slices.Contains(failed.Failure.Log, LastWords) {
		t.Errorf("failure reads %+v, want exit code 3 and the line %q", failed.Failure, LastWords)
	}
	again := w.Until(t, "the restart", func(all []apron.Instance) bool {
		return len(all) == 1 && all[0].State == apron.InstanceReady && all[0].Restarts > 0
	})[0]
	if again.ID != first.ID || again.Restarts != 1 {
		t.Errorf("restarted as %s with %d restarts, want %s with 1", again.ID, again.Restarts, first.ID)
	}
	if !reachable(again) {
		t.Error("the restarted instance does not accept connections")
	}
}

func testReportsFailingImage(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Exit)
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	failed := w.Failed(t, spec.Revision, apron.InstanceFailed, func(f apron.Failure) bool { return f.Exited })
	if failed.Failure.ExitCode != 7 || !slices.Contains(failed.Failure.Log, LastWords) {
		t.Errorf("failure reads %+v, want exit code 7 and the line %q", failed.Failure, LastWords)
	}
	w.Until(t, "a second try", func(all []apron.Instance) bool { return all[0].Restarts > 0 })
	remove(t, e, spec)
	w.Ready(t, spec.Revision, 0)
}

func testReportsSilentImage(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Silent)
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	i := w.Failed(t, spec.Revision, apron.InstanceStarting, func(f apron.Failure) bool { return f.Probe != "" })
	if i.Failure.Exited || i.Failure.Start != "" {
		t.Errorf("failure reads %+v, want a probe's answer alone", i.Failure)
	}
}

func testRefusesMissingImage(t *testing.T, e engine.Engine, h Harness) {
	spec := SpecOf(h.Missing)
	if err := e.Prepare(t.Context(), spec); apron.KindOf(err) != apron.Invalid {
		t.Errorf("Prepare of a missing image: %v, want an Invalid Fault", err)
	}
	if err := e.Scale(t.Context(), spec, 1); err == nil {
		t.Error("Scale of a revision that could not be prepared succeeded")
	}
	remove(t, e, spec)
	if left := revisions(t, e); len(left) != 0 {
		t.Errorf("revisions %v are left", left)
	}
}

func testScalesUpAndDown(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	first := w.Ready(t, spec.Revision, 1)[0]
	scale(t, e, spec, 3)
	w.Ready(t, spec.Revision, 3)
	scale(t, e, spec, 1)
	last := w.Ready(t, spec.Revision, 1)[0]
	if last.ID != first.ID {
		t.Errorf("scaling down kept %s, want the oldest, %s", last.ID, first.ID)
	}
	scale(t, e, spec, 0)
	w.Ready(t, spec.Revision, 0)
	if got := revisions(t, e); !slices.Contains(got, spec.Revision) {
		t.Errorf("revisions after scaling to 0 are %v, want the image kept", got)
	}
	scale(t, e, spec, 1)
	w.Ready(t, spec.Revision, 1)
}

// What a service's last instance takes with it is not what the next one is being made of.
func testStartsWhileOneLeaves(t *testing.T, e engine.Engine, h Harness) {
	spec := SpecOf(h.Serve)
	w := StartWatch(t, e)
	prepare(t, e, spec)
	var seen []apron.InstanceID
	for range 20 {
		scale(t, e, spec, 1)
		w.Until(t, "another instance to be ready", func(all []apron.Instance) bool {
			at := slices.IndexFunc(all, func(i apron.Instance) bool {
				return i.State == apron.InstanceReady && !slices.Contains(seen, i.ID)
			})
			if at >= 0 {
				seen = append(seen, all[at].ID)
			}
			return at >= 0
		})
		scale(t, e, spec, 0)
	}
	w.Ready(t, spec.Revision, 0)
	for _, id := range seen {
		for _, i := range w.History(id) {
			if i.State == apron.InstanceFailed {
				t.Errorf("an instance failed: %s", i.Failure.Summary())
			}
		}
	}
	remove(t, e, spec)
}

// Whoever asks again for what was given up must not take the instance that leaves for the one that comes.
func testStoppingIsNotReady(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	id := w.Ready(t, spec.Revision, 1)[0].ID
	scale(t, e, spec, 0)
	w.Ready(t, spec.Revision, 0)
	var states []apron.InstanceState
	for _, i := range w.History(id) {
		states = append(states, i.State)
	}
	want := []apron.InstanceState{apron.InstanceReady, apron.InstanceStopping, apron.InstanceGone}
	if at := slices.Index(states, apron.InstanceReady); !slices.Equal(states[at:], want) {
		t.Errorf("the instance was reported as %s, want %s in the end", states, want)
	}
	remove(t, e, spec)
}

func testRemoveLeavesNothing(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	prepare(t, e, spec)
	scale(t, e, spec, 2)
	ready := w.Ready(t, spec.Revision, 2)
	remove(t, e, spec)
	w.Ready(t, spec.Revision, 0)
	for _, i := range ready {
		if reachable(i) {
			t.Errorf("instance %s still accepts connections", i.ID)
		}
	}
	if left := revisions(t, e); len(left) != 0 {
		t.Errorf("revisions %v are left", left)
	}
	if left := h.Left(t); len(left) != 0 {
		t.Errorf("left on the machine: %q", left)
	}
	if err := e.Scale(t.Context(), spec, 1); err == nil {
		t.Error("Scale of a removed revision succeeded")
	}
}

func testIdempotent(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	remove(t, e, spec) // unknown
	prepare(t, e, spec)
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	before := ids(w.Ready(t, spec.Revision, 1))
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	scale(t, e, spec, 1)
	if diff := cmp.Diff(before, ids(w.Ready(t, spec.Revision, 1))); diff != "" {
		t.Errorf("asking again changed the instances (-before +after):\n%s", diff)
	}
	remove(t, e, spec)
	remove(t, e, spec)
	w.Ready(t, spec.Revision, 0) // the watcher may lag behind the call
	prepare(t, e, spec)
	scale(t, e, spec, 1)
	if after := ids(w.Ready(t, spec.Revision, 1)); slices.Equal(before, after) {
		t.Error("an instance came back under the id of a removed one")
	}
}

func testKeepsRevisionsApart(t *testing.T, e engine.Engine, h Harness) {
	w, a, b := StartWatch(t, e), SpecOf(h.Serve), SpecOf(h.Serve)
	b.Service = a.Service
	for _, spec := range []engine.Spec{a, b} {
		prepare(t, e, spec)
		scale(t, e, spec, 1)
	}
	w.Ready(t, a.Revision, 1)
	kept := ids(w.Ready(t, b.Revision, 1))
	remove(t, e, a)
	w.Ready(t, a.Revision, 0)
	if diff := cmp.Diff(kept, ids(w.Ready(t, b.Revision, 1))); diff != "" {
		t.Errorf("removing one revision changed another (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff([]apron.RevisionID{b.Revision}, revisions(t, e)); diff != "" {
		t.Errorf("revisions (-want +got):\n%s", diff)
	}
}
