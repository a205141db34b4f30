package containerd_test

import (
	"testing"

	"apron/engine/enginetest"
)

// BenchmarkStart measures Scale(0→1) until the instance is reported ready, for a small static server
// whose image is prepared, and its removal by Scale(1→0).
func BenchmarkStart(b *testing.B) {
	r := newRig(b)
	w := enginetest.StartWatch(b, r.driver)
	spec := enginetest.SpecOf(r.serveImage(b))
	if err := r.driver.Prepare(b.Context(), spec); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		if err := r.driver.Scale(b.Context(), spec, 1); err != nil {
			b.Fatal(err)
		}
		w.Ready(b, spec.Revision, 1)
		b.StopTimer()
		if err := r.driver.Scale(b.Context(), spec, 0); err != nil {
			b.Fatal(err)
		}
		w.Ready(b, spec.Revision, 0)
		b.StartTimer()
	}
}

// BenchmarkRemove measures Remove of a revision with one instance.
func BenchmarkRemove(b *testing.B) {
	r := newRig(b)
	w := enginetest.StartWatch(b, r.driver)
	image := r.serveImage(b)
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		spec := enginetest.SpecOf(image)
		runOne(b, r.driver, w, spec)
		b.StartTimer()
		if err := r.driver.Remove(b.Context(), spec.Revision); err != nil {
			b.Fatal(err)
		}
	}
}
