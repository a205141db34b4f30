package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// maxRawLogBytes is how long a log without stamps may become before it begins again.
const maxRawLogBytes = 64 << 20

// A binary that was built without a shim of its own uses the one in PATH, which writes output as it
// comes to one file without end: the log's first segment, whose lines have no stamps.
const rawSuffix = ".0000000000000000.log"

// makeRawLog makes the file before the shim does, which would let others read it.
func makeRawLog(base string) (path string, err error) {
	path = base + rawSuffix
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return "", fmt.Errorf("make log file: %w", err)
	}
	return path, f.Close()
}

// boundRawLogs keeps such files within their bounds; shims that write logs themselves do that alone.
func (d *Driver) boundRawLogs() {
	if embedded() {
		return
	}
	files, err := filepath.Glob(logBase(d.cfg.Dir, "*") + rawSuffix)
	if err != nil {
		return // a pattern error: the directory's name cannot be globbed, and never will be
	}
	for _, f := range files {
		if err := boundRawLog(f, maxRawLogBytes); err != nil {
			d.cfg.Log.Warn("log not bounded", "err", err)
		}
	}
}

// boundRawLog empties a file that is longer than limit. The shim has it open for appending and goes on
// where it now ends.
func boundRawLog(path string, limit int64) error {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // its instance was removed
	}
	if err != nil {
		return fmt.Errorf("look at log: %w", err)
	}
	if st.Size() <= limit {
		return nil
	}
	if err := os.Truncate(path, 0); err != nil {
		return fmt.Errorf("empty log: %w", err)
	}
	return nil
}
