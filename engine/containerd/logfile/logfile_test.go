package logfile_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"apron/engine/containerd/logfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func open(t testing.TB, base string, l logfile.Limits) *logfile.Writer {
	t.Helper()
	w, err := logfile.OpenWriter(base, l, func() time.Time { return start })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func copyAll(t testing.TB, w *logfile.Writer, s logfile.Stream, text string) {
	t.Helper()
	if err := w.Copy(s, strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, base string, offset int64) (lines []logfile.Line) {
	t.Helper()
	next, err := logfile.Read(base, offset, func(l logfile.Line) error {
		l.Text = append([]byte{}, l.Text...)
		lines = append(lines, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) > 0 && next != lines[len(lines)-1].Next {
		t.Errorf("reading ends at %d, the last line at %d", next, lines[len(lines)-1].Next)
	}
	return lines
}

func TestWritesWhatCollectorsRead(t *testing.T) {
	base := filepath.Join(t.TempDir(), "i")
	w := open(t, base, logfile.Limits{})
	copyAll(t, w, logfile.Stdout, "hello\n\nlast")
	copyAll(t, w, logfile.Stderr, "oh\n")
	b, err := os.ReadFile(base + ".0000000000000000.log")
	want := "2026-01-02T03:04:05.000006Z stdout F hello\n2026-01-02T03:04:05.000006Z stdout F \n" +
		"2026-01-02T03:04:05.000006Z stdout F last\n2026-01-02T03:04:05.000006Z stderr F oh\n"
	if diff := cmp.Diff(want, string(b)); diff != "" || err != nil {
		t.Errorf("file, %v (-want +got):\n%s", err, diff)
	}
	lines := read(t, base, 0)
	if len(lines) != 4 || !lines[0].At.Equal(start) || lines[3].Stream != logfile.Stderr || string(lines[2].Text) != "last" {
		t.Errorf("lines are %+v", lines)
	}
	for i, l := range lines[1:] { // every offset is a place to begin at
		if l.Offset != lines[i].Next {
			t.Errorf("line %d begins at %d, the one before ends at %d", i+1, l.Offset, lines[i].Next)
		}
		if diff := cmp.Diff(lines[i+1:], read(t, base, l.Offset)); diff != "" {
			t.Errorf("from offset %d (-want +got):\n%s", l.Offset, diff)
		}
	}
}

// TestLongLinesComeInParts cuts a line that would need unbounded memory, and loses nothing of it.
func TestLongLinesComeInParts(t *testing.T) {
	base := filepath.Join(t.TempDir(), "i")
	long := strings.Repeat("0123456789", 10_000)
	copyAll(t, open(t, base, logfile.Limits{}), logfile.Stdout, long+"\nshort\n")
	var got strings.Builder
	lines := read(t, base, 0)
	for _, l := range lines[:len(lines)-1] {
		got.Write(l.Text)
		if !l.Partial {
			got.WriteString("\n")
		}
	}
	if got.String() != long+"\n" || string(lines[len(lines)-1].Text) != "short" || lines[len(lines)-1].Partial {
		t.Errorf("%d lines with %d bytes, the last %q", len(lines), got.Len(), lines[len(lines)-1].Text)
	}
}

// TestRotationKeepsLinesWhole writes from two streams at once, far more than is kept: what is kept is
// the newest, without a gap and in whole lines.
func TestRotationKeepsLinesWhole(t *testing.T) {
	base := filepath.Join(t.TempDir(), "i")
	w := open(t, base, logfile.Limits{SegmentBytes: 128 << 10, Segments: 4})
	const each = 40_000
	var wg sync.WaitGroup
	for _, s := range []logfile.Stream{logfile.Stdout, logfile.Stderr} {
		r, to := io.Pipe()
		wg.Go(func() {
			for n := range each {
				fmt.Fprintf(to, "%s line %d\n", s, n)
			}
			to.Close()
		})
		wg.Go(func() {
			if err := w.Copy(s, r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	files, err := filepath.Glob(base + ".*")
	if err != nil || len(files) != 4 {
		t.Errorf("segments are %q, %v", files, err)
	}
	next := map[logfile.Stream]int{}
	for _, l := range read(t, base, 0) {
		var n int
		if _, err := fmt.Sscanf(string(l.Text), string(l.Stream)+" line %d", &n); err != nil {
			t.Fatalf("torn line %q of %s", l.Text, l.Stream)
		}
		if want, ok := next[l.Stream]; ok && n != want {
			t.Fatalf("line %d of %s after line %d", n, l.Stream, want-1)
		}
		next[l.Stream] = n + 1
	}
	if next[logfile.Stdout] != each && next[logfile.Stderr] != each {
		t.Errorf("the newest lines are missing: %v", next)
	}
	end, err := logfile.End(base)
	if err != nil || end < 4*128<<10 {
		t.Errorf("end is %d, %v", end, err)
	}
	if lines := read(t, base, end); len(lines) != 0 {
		t.Errorf("beyond the end there are %d lines", len(lines))
	}
}

// TestGoesOnAfterACrash opens a log whose last line was cut short.
func TestGoesOnAfterACrash(t *testing.T) {
	base := filepath.Join(t.TempDir(), "i")
	copyAll(t, open(t, base, logfile.Limits{}), logfile.Stdout, "whole\n")
	f, err := os.OpenFile(base+".0000000000000000.log", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("2026-01-02T03:04:05Z stdout F cut sho"); err != nil {
		t.Fatal(err)
	}
	if lines := read(t, base, 0); len(lines) != 1 {
		t.Errorf("half a line is read: %+v", lines)
	}
	copyAll(t, open(t, base, logfile.Limits{}), logfile.Stderr, "next\n")
	lines := read(t, base, 0)
	if len(lines) != 3 || string(lines[1].Text) != "cut sho" || string(lines[2].Text) != "next" {
		t.Errorf("lines are %+v", lines)
	}
	if err := logfile.Remove(base); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(base + "*"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestLogThatCannotBeWrittenHoldsNobodyUp takes the directory away and brings it back.
func TestLogThatCannotBeWrittenHoldsNobodyUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, "i")
	w := open(t, base, logfile.Limits{SegmentBytes: 1})
	copyAll(t, w, logfile.Stdout, "first\n")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	copyAll(t, w, logfile.Stdout, strings.Repeat("lost\n", 100_000))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	copyAll(t, w, logfile.Stdout, "again\n")
	lines := read(t, base, 0)
	if len(lines) != 2 || string(lines[0].Text) != "100000 lines were lost: the log could not be written" || string(lines[1].Text) != "again" {
		t.Errorf("lines are %+v", lines)
	}
}

func TestFollow(t *testing.T) {
	base := filepath.Join(t.TempDir(), "i")
	w := open(t, base, logfile.Limits{SegmentBytes: 100, Segments: 50})
	copyAll(t, w, logfile.Stdout, "0\n")
	lines := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- logfile.Follow(ctx, base, 0, func(l logfile.Line) error {
			lines <- string(l.Text)
			return nil
		})
	}()
	for n := range 20 { // over several segments
		if got := <-lines; got != fmt.Sprint(n) {
			t.Fatalf("line %q, want %d", got, n)
		}
		copyAll(t, w, logfile.Stdout, fmt.Sprintf("%d\n", n+1))
	}
	<-lines
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Follow ended with %v", err)
	}
	stop := errors.New("enough")
	if err := logfile.Follow(t.Context(), base, 0, func(logfile.Line) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Follow ended with %v", err)
	}
	go func() { done <- logfile.Follow(t.Context(), base, 1<<40, func(logfile.Line) error { return nil }) }()
	if err := logfile.Remove(base); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Follow of a log that was removed ended with %v", err)
	}
}

// FuzzRead reads files that anybody may have written.
func FuzzRead(f *testing.F) {
	f.Add([]byte("2026-01-02T03:04:05Z stdout F hello\nplain\n2026 stdout F x\n"), int64(3))
	f.Add([]byte(strings.Repeat("x", 100_000)), int64(0))
	f.Add([]byte("2026-01-02T03:04:05Z stderr P \xff\x00\n"), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, offset int64) {
		base := filepath.Join(t.TempDir(), "i")
		if err := os.WriteFile(base+".0000000000000000.log", b, 0o600); err != nil {
			t.Fatal(err)
		}
		at := max(offset, 0)
		next, err := logfile.Read(base, offset, func(l logfile.Line) error {
			if l.Offset != at || l.Next <= l.Offset || l.Next > int64(len(b)) {
				t.Fatalf("line at %d-%d, expected it at %d", l.Offset, l.Next, at)
			}
			at = l.Next
			return nil
		})
		if err != nil || next < offset {
			t.Fatalf("read to %d from %d: %v", next, offset, err)
		}
	})
}

// BenchmarkWrite measures what an application's output costs on its way through, in lines of 100
// bytes.
func BenchmarkWrite(b *testing.B) {
	w := open(b, filepath.Join(b.TempDir(), "i"), logfile.Limits{})
	text := strings.Repeat(strings.Repeat("x", 99)+"\n", 10_000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		copyAll(b, w, logfile.Stdout, text)
	}
}
