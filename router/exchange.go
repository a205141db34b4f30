package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// serverName is what App Runner's edge calls itself (behaviour seen from outside: it is Envoy).
const serverName = "envoy"

// statusClientGone is recorded when the client left before there was an answer. It is never sent.
const statusClientGone = 499

var (
	errUnknownHost  = errors.New("no route has this host")
	errRequestLimit = errors.New("the request took longer than it may")
)

// exchange is one request and its response on their way through the router. It is the
// http.ResponseWriter the relay writes to, and counts what passes.
type exchange struct {
	http.ResponseWriter
	start  time.Time
	timer  *time.Timer // ends the request at its limit
	cancel context.CancelCauseFunc

	breaker  *breaker      // of the route; nil: the host is unknown
	held     *target       // of which a slot is taken; nil: none
	instance *backend      // last one a slot was taken of
	tried    []*target     // that could not be connected to
	chosen   time.Time     // when the last instance was
	upstream time.Duration // until its response header came; 0: it did not

	onHijack func(net.Conn) // called with the client's connection when a tunnel begins

	status   int // sent or, if nothing could be, to be recorded; 0: none yet
	bytes    int64
	bodyFail atomic.Bool // reading the client's body failed; set by the transport's goroutine
}

// acquire takes a slot of an instance not tried before.
func (x *exchange) acquire(ctx context.Context) (*backend, error) {
	b, err := x.breaker.acquire(ctx, x.tried)
	if err != nil {
		return nil, err
	}
	x.held, x.instance, x.chosen = b.target, b, time.Now()
	return b, nil
}

// WriteHeader passes a status on and keeps the final one.
func (x *exchange) WriteHeader(status int) {
	if status >= http.StatusOK && x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write passes a part of the body on.
func (x *exchange) Write(p []byte) (int, error) {
	n, err := x.ResponseWriter.Write(p)
	x.bytes += int64(n)
	return n, err
}

// Unwrap gives http.ResponseController what this type lacks, Flush above all.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Hijack takes the client's connection over for a tunnel.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	if x.onHijack != nil {
		x.onHijack(conn)
	}
	return conn, rw, nil
}

// requestBody is the client's body as the transport sees it. Closing it does nothing: the transport
// closes the body of a request it could not send, which is then sent to another instance. The
// server closes the real one.
type requestBody struct {
	io.ReadCloser
	exchange *exchange
}

// Read notes when it was the client that failed, not the instance.
func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.exchange.bodyFail.Store(true)
	}
	return n, err
}

// Close does nothing.
func (b *requestBody) Close() error { return nil }

// fail answers a request that no instance answered. Bodies are those of Envoy where it has one.
func (x *exchange) fail(r *http.Request, err error) {
	var refused *connectError
	switch cause := context.Cause(r.Context()); {
	case errors.Is(err, errUnknownHost):
		x.reply(r, http.StatusNotFound, "")
	case errors.Is(cause, errRequestLimit):
		x.hangUp(r)
		x.reply(r, http.StatusGatewayTimeout, "upstream request timeout")
	case cause != nil: // the client left, or the router ends and has waited long enough
		x.status = statusClientGone
		x.hangUp(r)
		x.reply(r, http.StatusServiceUnavailable, "")
	case errors.Is(err, errOverloaded):
		x.reply(r, http.StatusTooManyRequests, "Too Many Requests")
	case errors.Is(err, errNoInstance):
		x.reply(r, http.StatusServiceUnavailable, "no healthy upstream")
	case errors.As(err, &refused):
		x.reply(r, http.StatusServiceUnavailable, resetBeforeHeaders+connectReason(refused.err))
	case x.bodyFail.Load():
		x.hangUp(r)
		x.reply(r, http.StatusBadRequest, "")
	default:
		x.hangUp(r)
		x.reply(r, http.StatusServiceUnavailable, resetBeforeHeaders+"connection termination")
	}
}

const resetBeforeHeaders = "upstream connect error or disconnect/reset before headers. reset reason: "

// connectReason says in Envoy's words why connecting failed.
func connectReason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return "connection timeout"
	case errors.As(err, &errno):
		return fmt.Sprintf("connection failure, transport failure reason: delayed connect error: %d", int(errno))
	default:
		return "connection failure"
	}
}

// hangUp closes the client's connection after the answer: part of its body may not have been read,
// and waiting for the rest would hold the answer back. HTTP/2 streams end by themselves.
func (x *exchange) hangUp(r *http.Request) {
	if r.ProtoMajor == 1 {
		x.Header().Set("Connection", "close")
	}
}

func (x *exchange) reply(r *http.Request, status int, body string) {
	h := x.Header()
	h.Set("Server", serverName)
	h["Content-Type"] = nil
	if body != "" {
		h.Set("Content-Type", "text/plain")
	}
	x.WriteHeader(status)
	if body != "" && r.Method != http.MethodHead {
		_, _ = io.WriteString(x, body) // a client that is gone is no one's concern
	}
}

// record returns what is told about the exchange once it is over.
func (x *exchange) record(r *http.Request) Access {
	a := Access{
		Time: x.start, Method: clip(r.Method, 32), Host: clip(r.Host, 255),
		Status: x.status, Duration: time.Since(x.start), Upstream: x.upstream, Bytes: x.bytes,
	}
	if a.Status == 0 {
		a.Status = statusClientGone // the relay gave up before it had anything to send
	}
	if x.breaker != nil {
		set := x.breaker.set.Load()
		if x.instance != nil {
			set, a.Instance = x.instance.set, x.instance.id
		}
		a.Service, a.Revision = set.service, set.revision
	}
	return a
}

// clip returns at most n bytes of s, in memory of their own: s is part of the request's header.
func clip(s string, n int) string { return strings.Clone(s[:min(n, len(s))]) }
