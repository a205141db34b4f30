package builder

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/moby/buildkit/client/llb"

	"apron"
)

// step is one command of a build. Its String is the name BuildKit reports it under.
type step struct {
	phase  string // pre-build, build, post-build or pre-run
	number int    // within its phase, from 1
	of     int
	line   string // the command
}

// String implements fmt.Stringer.
func (s step) String() string {
	return fmt.Sprintf("[%s %d/%d] %s", s.phase, s.number, s.of, s.line)
}

// stepName matches the names of steps: ours, and those of Dockerfiles, whose stages need no name and
// are padded.
var stepName = regexp.MustCompile(`(?s)^\[(?:([^\s\]]+) +)?(\d+)/(\d+)\] (.*)$`)

// parseStep reads what String wrote, or what the Dockerfile frontend calls a step; false for any other
// name.
func parseStep(name string) (s step, ok bool) {
	m := stepName.FindStringSubmatch(name)
	if m == nil {
		return step{}, false
	}
	n, errN := strconv.Atoi(m[2])
	of, errOf := strconv.Atoi(m[3])
	return step{phase: m[1], number: n, of: of, line: m[4]}, errN == nil && errOf == nil
}

// option mounts a cache, which belongs to the service alone: one could otherwise plant in it what the
// other installs.
func (c cacheMount) option(service apron.ServiceID) llb.MountOption {
	sharing := llb.CacheMountShared
	if c.alone {
		sharing = llb.CacheMountLocked
	}
	return llb.AsPersistentCacheDir(string(service)+"-"+c.kind, sharing)
}
