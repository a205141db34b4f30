package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"apron"
)

// Bounds of what a failure report reads of a log.
const (
	maxTailBytes = 64 << 10
	maxLineBytes = 1 << 10
)

// logTail returns the last lines written to a log file after offset from, at most
// apron.MaxFailureLog. It never fails a report: without a readable log there are no lines.
func logTail(path string, from int64) []string {
	b, cut, err := readTail(path, from)
	if err != nil {
		return nil
	}
	return lastLines(b, cut)
}

// readTail reads at most maxTailBytes from the end of a file; cut tells that it left something out.
func readTail(path string, from int64) (b []byte, cut bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("look at log: %w", err)
	}
	if from > st.Size() {
		from = 0 // truncated since
	}
	if st.Size()-from > maxTailBytes {
		from, cut = st.Size()-maxTailBytes, true
	}
	b = make([]byte, st.Size()-from)
	n, err := f.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("read log: %w", err)
	}
	return b[:n], cut, nil
}

// lastLines splits what an application wrote, which can be anything, into lines fit to show: valid
// UTF-8 of bounded length, without control characters at their ends. When b does not begin at the
// start of a line, its first is left out.
func lastLines(b []byte, cut bool) []string {
	if cut {
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	var lines []string
	for line := range bytes.Lines(b) {
		if len(line) > maxLineBytes {
			line = line[:maxLineBytes]
		}
		s := strings.ToValidUTF8(string(line), "\uFFFD")
		s = strings.ReplaceAll(strings.TrimRight(s, "\r\n"), "\x00", "")
		lines = append(lines, s)
		if len(lines) > apron.MaxFailureLog {
			lines = lines[1:]
		}
	}
	return lines
}
