package enginetest_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"apron"
	"apron/engine"
	"apron/engine/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func image(name string) apron.Image {
	return apron.Image{Reference: "registry.example.com/" + name + "@sha256:0", Digest: "sha256:0"}
}

func newMemory(t *testing.T) (engine.Engine, enginetest.Harness) {
	m := enginetest.New()
	t.Cleanup(m.Close)
	words := []string{"hello", enginetest.LastWords}
	h := enginetest.Harness{
		Serve: image("serve"), Exit: image("exit"), Silent: image("silent"), Missing: image("missing"),
		Crash: func(t *testing.T, i apron.Instance) {
			if !m.Crash(i.ID, 3) {
				t.Fatalf("instance %s has no process", i.ID)
			}
		},
		Process: func(_ *testing.T, id apron.InstanceID) string { return m.Process(id) },
		Reopen:  func(*testing.T) engine.Engine { return m },
		Left:    func(*testing.T) []string { return nil },
	}
	m.Image(h.Serve.Reference, enginetest.Behaviour{Log: words})
	m.Image(h.Exit.Reference, enginetest.Behaviour{Exits: true, Code: 7, Log: words})
	m.Image(h.Silent.Reference, enginetest.Behaviour{Silent: true})
	m.Image(h.Missing.Reference, enginetest.Behaviour{Absent: "no such image"})
	return m, h
}

func TestMemory(t *testing.T) { enginetest.Run(t, newMemory) }

func TestMemoryReplacesUnhealthyInstance(t *testing.T) {
	m := enginetest.New()
	t.Cleanup(m.Close)
	sick := make(chan struct{})
	m.Image(image("sick").Reference, enginetest.Behaviour{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sicken" {
			close(sick)
		}
		select {
		case <-sick:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
		}
	})})
	spec := enginetest.SpecOf(image("sick"))
	spec.HealthCheck.Interval, spec.HealthCheck.UnhealthyThreshold = 5*time.Millisecond, 2
	w := enginetest.StartWatch(t, m)
	if err := errors.Join(m.Prepare(t.Context(), spec), m.Scale(t.Context(), spec, 1)); err != nil {
		t.Fatal(err)
	}
	ready := w.Ready(t, spec.Revision, 1)[0]
	resp, err := http.Get(fmt.Sprintf("http://%s/sicken", ready.Addr))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	unhealthy := w.Failed(t, spec.Revision, apron.InstanceUnhealthy, func(f apron.Failure) bool { return f.Probe != "" })
	if unhealthy.ID != ready.ID {
		t.Errorf("instance %s is unhealthy, want %s", unhealthy.ID, ready.ID)
	}
	w.Until(t, "the replacement to be tried", func(all []apron.Instance) bool { return all[0].Restarts > 0 })
}

func TestMemoryTroubleIsNoFault(t *testing.T) {
	m := enginetest.New()
	t.Cleanup(m.Close)
	trouble := errors.New("connection reset")
	m.Image(image("far").Reference, enginetest.Behaviour{Trouble: trouble})
	err := m.Prepare(t.Context(), enginetest.SpecOf(image("far")))
	if !errors.Is(err, trouble) || apron.KindOf(err) != 0 {
		t.Errorf("Prepare: %v, want a plain error around the trouble", err)
	}
}
