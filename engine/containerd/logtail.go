package containerd

import (
	"strings"

	"apron"
	"apron/engine/containerd/logfile"
)

// Bounds of what a failure report reads of a log.
const (
	maxTailBytes = 64 << 10
	maxLineBytes = 1 << 10
)

// logTail returns the last lines written to the log at base after offset from, at most
// apron.MaxFailureLog, fit to show. It never fails a report: without a readable log there are no lines.
func logTail(base string, from int64) []string {
	end, err := logfile.End(base)
	if err != nil {
		return nil
	}
	if from > end {
		from = 0 // emptied since
	}
	cut := end-from > maxTailBytes
	if cut {
		from = end - maxTailBytes
	}
	var lines []string
	_, _ = logfile.Read(base, from, func(l logfile.Line) error { // what was read counts
		if cut {
			cut = false // it began in the middle of a line
			return nil
		}
		lines = append(lines, showLine(l.Text))
		if len(lines) > apron.MaxFailureLog {
			lines = lines[1:]
		}
		return nil
	})
	return lines
}

// showLine makes what an application wrote, which can be anything, fit to show: valid UTF-8 of bounded
// length, without control characters at its end.
func showLine(b []byte) string {
	s := strings.ToValidUTF8(string(b[:min(len(b), maxLineBytes)]), "\uFFFD")
	return strings.ReplaceAll(strings.TrimRight(s, "\r\n"), "\x00", "")
}
