package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Bounds of an instance's log.
const (
	segmentBytes = 8 << 20
	maxSegments  = 8
	// maxLine is the longest line kept in one piece, in bytes.
	maxLine = 16 << 10
	// chunk is how much is read from a process at a time.
	chunk = 64 << 10
)

// Stream is one of a process's two outputs.
type Stream string

// The streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Limits bound a log. A zero member is its default: segments of 8 MiB, 8 of them.
type Limits struct {
	SegmentBytes int64
	Segments     int
}

// Writer appends to an instance's log. Safe for concurrent use; only one process may write.
type Writer struct {
	base   string // path of the log without the segments' suffix
	limits Limits
	now    func() time.Time

	mu   sync.Mutex // guards the fields below; held during writes, which keeps lines whole
	f    *os.File
	seg  segment
	lost int // lines that could not be written since the last that could
}

// OpenWriter opens the log at base, which it makes if absent, to go on at its end. Close closes it.
func OpenWriter(base string, l Limits, now func() time.Time) (*Writer, error) {
	if l.SegmentBytes <= 0 {
		l.SegmentBytes = segmentBytes
	}
	if l.Segments <= 0 {
		l.Segments = maxSegments
	}
	w := &Writer{base: base, limits: l, now: now}
	all, err := segments(base)
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		w.seg = all[len(all)-1]
	}
	return w, w.open()
}

// open opens the segment that is written to. A crash may have cut its last line short: it is ended.
func (w *Writer) open() error {
	f, err := os.OpenFile(w.seg.path(w.base), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	last := []byte{'\n'}
	if w.seg.size > 0 {
		_, err = f.ReadAt(last, w.seg.size-1)
	}
	if err == nil && last[0] != '\n' {
		_, err = f.WriteString("\n")
		w.seg.size++
	}
	if err != nil {
		return errors.Join(fmt.Errorf("look at end of log: %w", err), f.Close())
	}
	w.f = f
	return nil
}

// Close closes the log.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.f.Close()
}

// Copy stamps what r gives, line by line, until it ends. It goes on reading when lines cannot be
// written, so that the process behind r is never held up by a full disk.
func (w *Writer) Copy(s Stream, r io.Reader) error {
	buf := make([]byte, 0, chunk)
	var out, stamp []byte
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		stamp = w.now().UTC().AppendFormat(stamp[:0], time.RFC3339Nano)
		lines := 0
		rest := buf
		out = out[:0]
		for len(rest) > 0 {
			line, after, whole := bytes.Cut(rest, []byte{'\n'})
			if !whole && len(line) < maxLine && err == nil {
				break // its end is yet to come
			}
			tag := byte('F')
			if len(line) > maxLine || (!whole && err == nil) {
				cut := min(len(line), maxLine)
				line, after, tag = line[:cut], rest[cut:], 'P'
			}
			out = appendLine(out, stamp, s, tag, line)
			rest, lines = after, lines+1
		}
		buf = append(buf[:0], rest...)
		w.write(out, lines)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read output: %w", err)
		}
	}
}

func appendLine(out, stamp []byte, s Stream, tag byte, line []byte) []byte {
	out = append(append(append(append(out, stamp...), ' '), s...), ' ', tag, ' ')
	return append(append(out, line...), '\n')
}

// write appends whole lines, or counts those that were lost.
func (w *Writer) write(b []byte, lines int) {
	if len(b) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lost > 0 {
		note := fmt.Sprintf("%d lines were lost: the log could not be written", w.lost)
		b = append(appendLine(nil, w.now().UTC().AppendFormat(nil, time.RFC3339Nano), Stderr, 'F', []byte(note)), b...)
	}
	if err := w.append(b); err != nil {
		w.lost += lines
		return
	}
	w.lost = 0
}

func (w *Writer) append(b []byte) error {
	if w.seg.size > 0 && w.seg.size+int64(len(b)) > w.limits.SegmentBytes {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	n, err := w.f.Write(b)
	if err != nil && n > 0 {
		if cut := w.f.Truncate(w.seg.size); cut != nil { // no half lines
			w.seg.size += int64(n)
		}
		return err
	}
	w.seg.size += int64(n)
	return err
}

// rotate begins a new segment and removes the oldest if there are too many.
func (w *Writer) rotate() error {
	before, beforeFile := w.seg, w.f
	w.seg = segment{offset: before.end()}
	if err := w.open(); err != nil {
		w.seg, w.f = before, beforeFile
		return err
	}
	_ = beforeFile.Close() // it has been written
	all, err := segments(w.base)
	if err != nil {
		return err
	}
	for len(all) > w.limits.Segments {
		if err := os.Remove(all[0].path(w.base)); err != nil {
			return fmt.Errorf("remove old log: %w", err)
		}
		all = all[1:]
	}
	return nil
}
