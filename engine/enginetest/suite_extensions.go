package enginetest

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/engine"
)

// testExtensions tries the optional extensions that the engine has, on one instance.
func testExtensions(t *testing.T, e engine.Engine, h Harness) {
	w, spec := StartWatch(t, e), SpecOf(h.Serve)
	prepare(t, e, spec)
	if r, ok := e.(engine.Reserver); ok {
		if err := r.Reserve(t.Context(), spec, 1); err != nil {
			t.Fatalf("Reserve: %v", err)
		}
		w.Ready(t, spec.Revision, 0)
	}
	scale(t, e, spec, 1)
	i := w.Ready(t, spec.Revision, 1)[0]
	if m, ok := e.(engine.Meter); ok {
		t.Run("Meter", func(t *testing.T) { testMeter(t, m, i) })
	}
	if x, ok := e.(engine.Execer); ok {
		t.Run("Execer", func(t *testing.T) { testExecer(t, x, i, h) })
	}
	if f, ok := e.(engine.Freezer); ok {
		t.Run("Freezer", func(t *testing.T) { testFreezer(t, f, i) })
	}
	if l, ok := e.(engine.LogReader); ok {
		t.Run("LogReader", func(t *testing.T) { testLogReader(t, l, w, i, h) })
	}
	remove(t, e, spec) // those in reserve too
	if left := h.Left(t); len(left) != 0 {
		t.Errorf("left on the machine: %q", left)
	}
}

func testMeter(t *testing.T, m engine.Meter, i apron.Instance) {
	all, err := m.Usage(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("usage is %+v, %v", all, err)
	}
	if u := all[0]; u.Instance != i.ID || u.Service != i.Service || u.CPU <= 0 || u.Memory == 0 || time.Since(u.At) > time.Minute {
		t.Errorf("usage is %+v", u)
	}
}

func testExecer(t *testing.T, x engine.Execer, i apron.Instance, h Harness) {
	var out bytes.Buffer
	code, err := x.Exec(t.Context(), i.ID, engine.Command{Args: h.Copy, Stdin: strings.NewReader("hello"), Stdout: &out})
	if code != 5 || err != nil || out.String() != "hello" {
		t.Errorf("exit code %d, %v, output %q, want 5 and what was put in", code, err, out.String())
	}
	if _, err := x.Exec(t.Context(), newID(), engine.Command{Args: h.Copy}); apron.KindOf(err) != apron.NotFound {
		t.Errorf("in an instance that does not exist: %v, want a NotFound Fault", err)
	}
}

func testFreezer(t *testing.T, f engine.Freezer, i apron.Instance) {
	cl := &http.Client{Timeout: 300 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if err := f.Freeze(t.Context(), i.ID, true); err != nil {
		t.Fatal(err)
	}
	if resp, err := cl.Get("http://" + i.Addr.String() + "/"); err == nil {
		resp.Body.Close()
		t.Error("a frozen instance answered")
	}
	if err := f.Freeze(t.Context(), i.ID, false); err != nil {
		t.Fatal(err)
	}
	cl.Timeout = patience()
	resp, err := cl.Get("http://" + i.Addr.String() + "/")
	if err != nil {
		t.Fatalf("a thawed instance: %v", err)
	}
	resp.Body.Close()
}

func testLogReader(t *testing.T, l engine.LogReader, w *Watcher, i apron.Instance, h Harness) {
	h.Crash(t, i)
	w.Failed(t, i.Revision, apron.InstanceFailed, func(f apron.Failure) bool { return f.Exited })
	found := false
	next, err := l.ReadLog(t.Context(), i.ID, engine.LogOptions{}, func(line engine.LogLine) error {
		found = found || line.Text == LastWords
		if line.Next <= line.Offset {
			t.Errorf("a line lies between %d and %d", line.Offset, line.Next)
		}
		return nil
	})
	if err != nil || !found {
		t.Errorf("the log has the last words: %v, %v", found, err)
	}
	again, err := l.ReadLog(t.Context(), i.ID, engine.LogOptions{Offset: next}, func(line engine.LogLine) error {
		if line.Text == LastWords {
			t.Error("a line is read again from behind it")
		}
		return nil
	})
	if err != nil || again < next {
		t.Errorf("reading on from %d ends at %d, %v", next, again, err)
	}
}
