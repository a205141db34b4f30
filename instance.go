package apron

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// InstanceID identifies one container of a revision: 32 lower-case hex digits.
type InstanceID string

// InstanceState is where an instance stands in the eyes of its engine.
type InstanceState string

// The instance states.
const (
	// InstanceStarting: made, but not yet healthy for the first time.
	InstanceStarting InstanceState = "starting"
	// InstanceReady: passed its health check; requests may be sent to it.
	InstanceReady InstanceState = "ready"
	// InstanceUnhealthy: was ready, then failed its health check; the engine replaces it.
	InstanceUnhealthy InstanceState = "unhealthy"
	// InstanceFailed: its process ended or could not be started; the engine tries again after a
	// back-off. Failure says why.
	InstanceFailed InstanceState = "failed"
	// InstanceStopping: it is being removed, and accepts no more requests.
	InstanceStopping InstanceState = "stopping"
	// InstanceGone: removed for good. The last state reported for an instance.
	InstanceGone InstanceState = "gone"
)

// Instance is one running copy of a revision.
type Instance struct {
	ID        InstanceID
	Service   ServiceID
	Revision  RevisionID
	State     InstanceState
	Addr      netip.AddrPort // where the application listens; zero until known
	Restarts  int            // how often the engine had to start it again
	StartedAt time.Time      // of the running process; zero if none ran
	Failure   *Failure       // why it is not ready; nil while it is
}

// Failure is why an instance is not serving, complete enough to show to the user.
type Failure struct {
	ExitCode int      // of the process; meaningful when Exited
	Exited   bool     // the process ended
	Signal   string   // name of the signal that ended it, e.g. SIGKILL; empty: none
	OOM      bool     // the kernel ended it for exceeding its memory
	Ended    string   // why the engine ended the process, completing "it was ended because"; empty: it did not
	Start    string   // why the process could not be started at all; empty: it was
	Probe    string   // last answer of the failing health check; empty: none was made
	Log      []string // last lines the instance wrote, oldest first, at most MaxFailureLog
}

// MaxFailureLog is how many log lines a Failure carries at most.
const MaxFailureLog = 50

// stopped is App Runner's line, two spaces and all.
const stopped = "Your application stopped or failed to start. See logs for more information.  Container exit code: %d"

// Summary returns one line that says what happened, without the log lines.
func (f Failure) Summary() string {
	switch {
	case f.Start != "":
		return "The instance could not be started: " + f.Start
	case f.Ended != "":
		return "The instance was ended because " + f.Ended + "."
	case f.OOM:
		return "The instance ran out of memory and was ended. Container exit code: " + fmt.Sprint(f.ExitCode)
	case f.Exited && f.Signal != "":
		return fmt.Sprintf(stopped+" (%s)", f.ExitCode, f.Signal)
	case f.Exited:
		return fmt.Sprintf(stopped, f.ExitCode)
	case f.Probe != "":
		return "Health check failed: " + f.Probe
	default:
		return "The instance is not ready."
	}
}

// Detail returns Summary and, on lines of their own, the last log lines, for event logs and operation records.
func (f Failure) Detail() string {
	if len(f.Log) == 0 {
		return f.Summary() + "\nThe instance wrote no log lines."
	}
	return f.Summary() + "\nLast log lines:\n" + strings.Join(f.Log, "\n")
}
