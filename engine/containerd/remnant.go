package containerd

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// remnantError matches what the overlayfs snapshotter says when the directory it is about to give to a
// new snapshot is there already (containerd, plugins/snapshots/overlay, createSnapshot).
var remnantError = regexp.MustCompile(`rename (/\S+/snapshots/new-\d+) (/\S+/snapshots/\d+): file exists`)

// clearRemnant reports whether err says that a snapshot cannot be made because of a directory that an
// earlier one left, and removes that. The engine leaves one when it is killed after it has put the
// directory in its place and before it has taken note of it; it then goes on to choose the same place,
// in vain. That it chooses it is the proof that the directory is nobody's.
func (s *session) clearRemnant(err error) bool {
	if err == nil {
		return false
	}
	m := remnantError.FindStringSubmatch(err.Error())
	if m == nil || !strings.HasPrefix(m[2], filepath.Join(s.cfg.Dir, "engine")+"/") || filepath.Clean(m[2]) != m[2] {
		return false
	}
	s.cfg.Log.Warn("removing what a killed engine left of a file system", "directory", m[2])
	return os.RemoveAll(m[2]) == nil
}
