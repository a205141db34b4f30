package logfile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// maxStored is the longest a stored line can be: what comes before the text is short.
const maxStored = maxLine + 128

// Line is one line, or part of a line that was too long.
type Line struct {
	Offset  int64     // where it begins in the log
	Next    int64     // where the next one begins
	At      time.Time // when it was read from the process; zero: not known
	Stream  Stream
	Partial bool // more of the same line follows
	Text    []byte
}

// segment is one file of a log.
type segment struct{ offset, size int64 }

func (s segment) end() int64 { return s.offset + s.size }

func (s segment) path(base string) string { return fmt.Sprintf("%s.%016x.log", base, s.offset) }

// segments returns the segments there are, oldest first.
func segments(base string) ([]segment, error) {
	entries, err := os.ReadDir(filepath.Dir(base))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list log: %w", err)
	}
	var all []segment
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), filepath.Base(base)+".")
		hex, isLog := strings.CutSuffix(name, ".log")
		offset, err := strconv.ParseInt(hex, 16, 64)
		if !ok || !isLog || len(hex) != 16 || err != nil {
			continue
		}
		st, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		all = append(all, segment{offset, st.Size()})
	}
	slices.SortFunc(all, func(a, b segment) int { return int(min(1, max(-1, a.offset-b.offset))) })
	return all, nil
}

// End returns the offset behind the last byte of the log at base; 0: there is none.
func End(base string) (int64, error) {
	all, err := segments(base)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	return all[len(all)-1].end(), nil
}

// Remove removes the log at base, if there is one.
func Remove(base string) error {
	all, err := segments(base)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range all {
		if err := os.Remove(s.path(base)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove log: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Read calls fn for every line of the log at base that begins at offset or later, and returns where to
// go on. An offset whose segment is gone means the oldest line there is; one beyond the end, the end.
// An error of fn ends it and is returned.
func Read(base string, offset int64, fn func(Line) error) (next int64, err error) {
	all, err := segments(base)
	if err != nil {
		return offset, err
	}
	for _, s := range all {
		if s.end() <= offset {
			continue
		}
		if offset, err = readSegment(base, s, max(offset, s.offset), fn); err != nil {
			return offset, err
		}
	}
	return offset, nil
}

// readSegment reads the whole lines of a segment from offset on.
func readSegment(base string, s segment, offset int64, fn func(Line) error) (int64, error) {
	f, err := os.Open(s.path(base))
	if errors.Is(err, os.ErrNotExist) {
		return offset, nil // rotated away meanwhile
	}
	if err != nil {
		return offset, fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(offset-s.offset, io.SeekStart); err != nil {
		return offset, fmt.Errorf("read log: %w", err)
	}
	r := bufio.NewReaderSize(f, maxStored)
	for {
		b, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) { // what there is of a line is not a line yet
				return offset, nil
			}
			return offset, fmt.Errorf("read log: %w", err)
		}
		line := parse(b)
		line.Offset, line.Next = offset, offset+int64(len(b))
		offset = line.Next
		if err := fn(line); err != nil {
			return offset, err
		}
	}
}

// parse reads a stored line. What is not one, because another program wrote it, is the text of a line
// on standard output at an unknown time.
func parse(b []byte) Line {
	b = bytes.TrimSuffix(b, []byte{'\n'})
	parts := bytes.SplitN(b, []byte{' '}, 4)
	plain := Line{Stream: Stdout, Text: b}
	if len(parts) != 4 || len(parts[2]) != 1 || (parts[2][0] != 'F' && parts[2][0] != 'P') {
		return plain
	}
	at, err := time.Parse(time.RFC3339Nano, string(parts[0]))
	s := Stream(parts[1])
	if err != nil || (s != Stdout && s != Stderr) {
		return plain
	}
	return Line{At: at, Stream: s, Partial: parts[2][0] == 'P', Text: parts[3]}
}

// Follow does what Read does, and then waits for more until ctx is done or the log is removed; it
// returns nil then. Its other errors are fn's, and those of the file system.
func Follow(ctx context.Context, base string, offset int64, fn func(Line) error) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch log: %w", err)
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(base)); err != nil {
		return fmt.Errorf("watch log: %w", err)
	}
	for {
		if offset, err = Read(base, offset, fn); err != nil {
			return err
		}
		if left, err := segments(base); err != nil || len(left) == 0 {
			return err
		}
		if err := awaitChange(ctx, w, base); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// awaitChange waits until a segment changes, or ctx is done.
func awaitChange(ctx context.Context, w *fsnotify.Watcher, base string) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // too many for the queue: one of them may be it
				return fmt.Errorf("watch log: %w", err)
			}
			return nil
		case e := <-w.Events:
			if strings.HasPrefix(e.Name, base+".") {
				return nil
			}
		}
	}
}
