package sigv4

// Code classifies why a request was not accepted. Its caller decides how that looks on the wire.
type Code int

// The reasons.
const (
	// MissingAuthenticationToken: there is no Authorization header.
	MissingAuthenticationToken Code = iota + 1
	// IncompleteSignature: the header, or the date it needs, is malformed or incomplete.
	IncompleteSignature
	// InvalidSignature: the signature is not that of the request, or its time is too far off.
	InvalidSignature
	// UnrecognizedClient: there is no such access key, or it came with a session token.
	UnrecognizedClient
)

// String returns the code's name, for logs.
func (c Code) String() string {
	switch c {
	case MissingAuthenticationToken:
		return "missing authentication token"
	case IncompleteSignature:
		return "incomplete signature"
	case InvalidSignature:
		return "invalid signature"
	case UnrecognizedClient:
		return "unrecognized client"
	default:
		return "unknown"
	}
}

// Error is why a request was not accepted. Msg is for the client and holds no part of a secret or
// a signature.
type Error struct {
	Code Code
	Msg  string
}

// Error returns the code's name and the message.
func (e *Error) Error() string { return e.Code.String() + ": " + e.Msg }

func unrecognized() error {
	return &Error{UnrecognizedClient, "The security token included in the request is invalid."}
}

func incomplete(msg string) error { return &Error{IncompleteSignature, msg} }
