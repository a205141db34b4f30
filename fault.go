package apron

import (
	"errors"
	"fmt"
)

// FaultKind classifies what went wrong in terms a client can act on. Package api is the only
// place that maps a kind to an exception name and an HTTP status.
type FaultKind int

// The kinds of fault. Anything that is not a Fault is an internal error: logged in full, shown to
// the client only as a request id.
const (
	// Invalid: the request is wrong and will stay wrong until it is changed.
	Invalid FaultKind = iota + 1
	// NotFound: no such resource in this account and region.
	NotFound
	// State: the resource exists but its state forbids the action.
	State
	// Quota: a create call went over a quota.
	Quota
)

// String returns the kind's name, for logs.
func (k FaultKind) String() string {
	switch k {
	case Invalid:
		return "invalid"
	case NotFound:
		return "not found"
	case State:
		return "state"
	case Quota:
		return "quota"
	default:
		return "internal"
	}
}

// Fault is an error a client may learn about. Msg goes on the wire and must never hold a secret;
// Err, which may be nil, goes to the log only.
type Fault struct {
	Kind FaultKind
	Msg  string
	Err  error
}

// Faultf returns a Fault of the given kind without an inner error.
func Faultf(kind FaultKind, format string, args ...any) *Fault {
	return &Fault{Kind: kind, Msg: fmt.Sprintf(format, args...)}
}

// Error returns the safe message followed by the inner error: for logs, never for the wire.
func (f *Fault) Error() string {
	if f.Err == nil {
		return f.Msg
	}
	return f.Msg + ": " + f.Err.Error()
}

// Unwrap returns the inner error, or nil.
func (f *Fault) Unwrap() error { return f.Err }

// KindOf returns the kind of the first Fault in err's chain, or 0 when there is none.
func KindOf(err error) FaultKind {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f.Kind
	}
	return 0
}
