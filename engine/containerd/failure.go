package containerd

import (
	"errors"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"apron"
)

// failureOf describes how a process ended, with its last words.
func failureOf(e exit, oom bool, lines []string) apron.Failure {
	if reason, ok := notExecuted(e, lines); ok {
		return apron.Failure{Start: reason}
	}
	f := apron.Failure{Exited: true, ExitCode: e.code, OOM: oom, Log: lines}
	switch {
	case e.known || oom:
	case e.there:
		f.Ended = "its runtime was killed from outside"
	default:
		f.Ended = "the machine was restarted, or its runtime was killed from outside, while nobody watched"
	}
	// A shell's and containerd's convention: 128 and the number of the signal.
	if n := e.code - 128; e.known && n > 0 && n < 32 {
		f.Signal = unix.SignalName(unix.Signal(n))
	}
	return f
}

// notExecuted recognises a process that ended before the application's program took its place, and
// returns why. By then runc has reported a successful start, so its init has nobody left to tell: it
// writes the kernel's answer to what would have been the application's standard error, and ends with
// status 255 (runc, libcontainer/init_linux.go, Init). An application that does precisely the same
// gets the same report, with its own words in it.
func notExecuted(e exit, lines []string) (reason string, ok bool) {
	if !e.known || e.code != 255 || len(lines) != 1 || !strings.HasPrefix(lines[0], "exec ") {
		return "", false
	}
	switch reason = lines[0]; {
	case strings.HasSuffix(reason, ": "+unix.ENOEXEC.Error()):
		return reason + " (it is neither a program for linux/" + runtime.GOARCH + " nor a script that begins with #!)", true
	case strings.HasSuffix(reason, ": "+unix.ENOENT.Error()):
		// runc had found the program itself, or the start would have failed earlier.
		return reason + " (the program exists, but not the interpreter or loader it names)", true
	default:
		return reason, true
	}
}

// startReason makes what the runtime says about a process that could not be started fit for the
// user: runc's own words, without the path of callers before them.
func startReason(err error) string {
	if f, ok := errors.AsType[*apron.Fault](err); ok {
		return f.Msg
	}
	msg := err.Error()
	for _, mark := range []string{"unable to start container process: ", "error during container init: ", "OCI runtime create failed: ", "OCI runtime start failed: "} {
		if _, after, ok := strings.Cut(msg, mark); ok {
			msg = after
		}
	}
	return strings.TrimSuffix(strings.ToValidUTF8(msg[:min(len(msg), maxLineBytes)], ""), ": unknown")
}
