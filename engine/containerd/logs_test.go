package containerd_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/engine"
	"apron/engine/enginetest"
)

// lines returns what an instance has written, by stream.
func (r *rig) lines(t *testing.T, id apron.InstanceID, from int64) (stdout, stderr []string, next int64) {
	t.Helper()
	next, err := r.driver.ReadLog(t.Context(), id, engine.LogOptions{Offset: from}, func(l engine.LogLine) error {
		if l.At.IsZero() || time.Since(l.At) > time.Hour {
			t.Errorf("line %q is stamped %s", l.Text, l.At)
		}
		if l.Stderr {
			stderr = append(stderr, l.Text)
		} else {
			stdout = append(stdout, l.Text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return stdout, stderr, next
}

func TestLogs(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	spec := enginetest.SpecOf(r.serveImage(t))
	i := runOne(t, r.driver, w, spec)
	found := make(chan string)
	followed := make(chan error, 1)
	go func() {
		_, err := r.driver.ReadLog(t.Context(), i.ID, engine.LogOptions{Follow: true}, func(l engine.LogLine) error {
			found <- l.Text
			return nil
		})
		followed <- err
		close(found)
	}()
	if got := <-found; got != "hello" {
		t.Errorf("the first line is %q", got)
	}
	mustGet(t, i, "/say?out=to+stdout&err=to+stderr")
	for range 2 {
		if got := <-found; got != "to stdout" && got != "to stderr" {
			t.Errorf("followed %q", got)
		}
	}
	stdout, stderr, next := r.lines(t, i.ID, 0)
	if !slices.Equal(stdout, []string{"hello", "to stdout"}) || !slices.Equal(stderr, []string{"to stderr"}) {
		t.Errorf("standard output is %q, standard error %q", stdout, stderr)
	}
	// Nothing is lost while the platform is away, nor of the last words, nor with the process.
	r.driver.stop()
	r.child.kill()
	mustGet(t, i, "/say?out=alone&err=too")
	r.child = startEngine(t, r.dir)
	r.driver = startDriver(t, r.cfg)
	w = enginetest.StartWatch(t, r.driver)
	w.Ready(t, spec.Revision, 1)
	_, _ = get(i, "/crash")
	restarted(t, w, i.ID)
	stdout, stderr, _ = r.lines(t, i.ID, next)
	if !slices.Equal(stdout, []string{"alone", enginetest.LastWords, "hello"}) || !slices.Equal(stderr, []string{"too"}) {
		t.Errorf("then standard output is %q, standard error %q", stdout, stderr)
	}
	go func() {
		for range found { // the rest
		}
	}()
	if err := r.driver.Remove(t.Context(), spec.Revision); err != nil {
		t.Fatal(err)
	}
	if err := <-followed; err != nil {
		t.Errorf("following an instance that was removed ended with %v", err)
	}
	_, err := r.driver.ReadLog(t.Context(), i.ID, engine.LogOptions{}, func(engine.LogLine) error { return nil })
	if apron.KindOf(err) != apron.NotFound {
		t.Errorf("the log of an instance that was removed: %v", err)
	}
}

// TestChattyInstance writes 300 MiB as fast as it can.
func TestChattyInstance(t *testing.T) {
	r := newRig(t)
	w := enginetest.StartWatch(t, r.driver)
	image := r.serveImage(t)
	chatty := runOne(t, r.driver, w, enginetest.SpecOf(image))
	quiet := runOne(t, r.driver, w, enginetest.SpecOf(image))
	done := make(chan time.Duration, 1)
	go func() {
		start := time.Now()
		_, err := get(chatty, "/chat?mib=300")
		if err != nil {
			t.Errorf("the chatty instance was held up: %v", err)
		}
		done <- time.Since(start)
	}()
	var slowest time.Duration
	var took time.Duration
	for took == 0 {
		start := time.Now()
		mustGet(t, quiet, "/say?out=quiet&err=x")
		slowest = max(slowest, time.Since(start))
		select {
		case took = <-done:
		default:
		}
	}
	t.Logf("300 MiB in %s (%.0f MB/s); the slowest answer of its neighbour took %s", took, 315/took.Seconds(), slowest)
	if slowest > 3*time.Second {
		t.Errorf("a chatty neighbour slowed an answer down to %s", slowest)
	}
	var kept int64
	files, err := filepath.Glob(filepath.Join(r.dir, "log", "instance", string(chatty.ID)+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		kept += st.Size()
	}
	if kept < 50<<20 || kept > 66<<20 {
		t.Errorf("%d bytes are kept of what it wrote, in %d files", kept, len(files))
	}
	torn := errors.New("torn")
	_, err = r.driver.ReadLog(t.Context(), chatty.ID, engine.LogOptions{}, func(l engine.LogLine) error {
		if l.Text != strings.Repeat("chat", 25) {
			return torn
		}
		return nil
	})
	if err != nil {
		t.Errorf("reading what is kept: %v", err)
	}
}
