package containerd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxLogBytes is how long an instance's log file may become before it is rotated.
const maxLogBytes = 64 << 20

// rotateLogs keeps the log files within their bounds.
func (d *Driver) rotateLogs() {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(LogPath(d.cfg.Dir, "x")), "*.log"))
	if err != nil {
		return // a pattern error: the directory's name cannot be globbed, and never will be
	}
	for _, f := range files {
		if err := rotateLog(f, maxLogBytes); err != nil {
			d.cfg.Log.Warn("log not rotated", "err", err)
		}
	}
}

// rotateLog moves a log file's content to a second file once it is longer than limit. The shim has it
// open for appending and goes on where it now ends, so it is copied and truncated, not renamed; what
// is written between the two is lost.
func rotateLog(path string, limit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // its instance was removed
	}
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() <= limit {
		return err
	}
	old, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	defer old.Close()
	if _, err := io.Copy(old, f); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return nil
}
