package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"apron"
)

// UnavailableError says that a registry could not be asked, or not now, after a few tries: it may
// pass by itself. Msg is for the user, as a Fault's is; Err, which may be nil, for the log.
type UnavailableError struct {
	Msg string
	Err error
}

// Error returns the message followed by the inner error: for logs, never for the wire.
func (e *UnavailableError) Error() string {
	if e.Err == nil {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

// Unwrap returns the inner error, or nil.
func (e *UnavailableError) Unwrap() error { return e.Err }

var (
	errPlainHTTP = errors.New("plain HTTP is not allowed for this registry")
	errRedirects = errors.New("too many redirects")
	errStalled   = errors.New("no byte came for too long")
)

// bare returns err without the URL that the HTTP client adds: what a registry redirects to carries
// a signature that lets anybody in.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// lasting returns the Fault for a failure of a request to host that trying again does not mend, or
// nil.
func lasting(err error, host string) error {
	if apron.KindOf(err) != 0 {
		return err
	}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf("The certificate of the registry %s is not valid: %s.", host, certificate.Err)}
	case errors.Is(err, errPlainHTTP):
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf(
			"The registry %s leads to an address without TLS, which is not configured for it (insecure-registries).", host)}
	case errors.Is(err, errRedirects):
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf("The registry %s redirects without end.", host)}
	default:
		return nil
	}
}

// unreachable is the error for a host that could not be asked.
func unreachable(host string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	why := "the connection failed"
	var (
		dns *net.DNSError
		op  *net.OpError
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		why = "its name does not resolve"
	case errors.As(err, &dns):
		why = "its name cannot be looked up"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err), errors.Is(err, errStalled):
		why = "it did not answer in time"
	case errors.As(err, &op) && op.Op == "dial":
		why = "it accepts no connections"
	}
	return &UnavailableError{Msg: fmt.Sprintf("The registry %s cannot be reached: %s.", host, why), Err: err}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// troubled is the error for an answer that may be another one later.
func troubled(host string, status int, said string) error {
	msg := fmt.Sprintf("The registry %s answers %d %s", host, status, http.StatusText(status))
	if said != "" {
		msg += ": " + said
	}
	return &UnavailableError{Msg: msg + "."}
}
