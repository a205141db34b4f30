package router

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// serverName is what App Runner's edge calls itself (behaviour seen from outside: it is Envoy).
const serverName = "envoy"

// exchange is one request and its response on their way through the router. It is the
// http.ResponseWriter the relay writes to, and counts what passes.
type exchange struct {
	http.ResponseWriter
	start time.Time
	clock stopwatch // ends it when its time is over

	breaker  *breaker      // of the route; nil: the host is unknown
	held     *target       // of which a slot is taken; nil: none
	instance *backend      // last one a slot was taken of
	tried    []*target     // that could not be connected to
	chosen   time.Time     // when the last instance was
	upstream time.Duration // until its response header came; 0: it did not

	onHijack func(net.Conn) // called with the client's connection when a tunnel begins

	proxy     *proxy
	body      *requestBody // nil: the request has none
	bodyless  bool         // the response has no body and no trailers
	http10    bool         // the user speaks it
	ends      *ends
	requestID string // that the instance was told

	returned bool // nothing has to be cut short
	status   int  // sent or, if nothing could be, to be recorded; 0: none yet
	bytes    int64
	bodyFail atomic.Bool // reading the client's body failed; set by the transport's goroutine
}

// acquire takes a slot of an instance not tried before.
func (x *exchange) acquire(ctx context.Context) (*backend, error) {
	b, err := x.breaker.acquire(ctx, x.tried, x.instance != nil && x.instance.set.starting)
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
		x.clock.answering.Store(true)
	}
	if status < http.StatusOK && x.http10 {
		return // which has no such responses
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write passes a part of the body on.
func (x *exchange) Write(p []byte) (int, error) {
	x.clock.wait(&x.clock.writing)
	n, err := x.ResponseWriter.Write(p)
	x.clock.writing.Store(0)
	x.bytes += int64(n)
	return n, err
}

// FlushError sends what was written. A header section behind which nothing comes waits for the end of
// the response: in HTTP/2 both are then one frame, which is what gRPC calls Trailers-Only.
func (x *exchange) FlushError() error {
	if x.bodyless {
		return nil
	}
	x.clock.wait(&x.clock.writing)
	defer x.clock.writing.Store(0)
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// Unwrap gives http.ResponseController what this type lacks.
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

// requestBody is the client's body as the transport sees it. Closing it does nothing before it was read:
// the transport closes the body of a request it could not send, which is then sent to another instance.
// After that it ends a read, for which the transport of HTTP/2 waits before it is done with an answer
// that came early, or with an error. The server closes the real one.
type requestBody struct {
	io.ReadCloser
	user     io.Closer // the body itself: the reverse proxy keeps others from closing it
	exchange *exchange
	h2c      bool // the instance speaks HTTP/2

	begun  atomic.Bool // it is being read, or was
	closed atomic.Bool // by the transport, in the attempt at hand
	ending sync.Once
}

var errAbandoned = errors.New("the instance wants no more of the body")

// Read notes when it was the client that failed, not the instance.
func (b *requestBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	if b.closed.Load() {
		return 0, errAbandoned
	}
	clock := &b.exchange.clock
	clock.wait(&clock.reading)
	n, err := b.ReadCloser.Read(p)
	clock.reading.Store(0)
	if err != nil && !errors.Is(err, io.EOF) && !b.closed.Load() {
		b.exchange.bodyFail.Store(true)
	}
	return n, err
}

// Close notes that the transport wants no more of the body.
func (b *requestBody) Close() error {
	if !b.h2c {
		return nil
	}
	b.closed.Store(true)
	if b.begun.Load() {
		b.ending.Do(func() { _ = b.user.Close() }) // what is left of it is no concern of the instance
	}
	return nil
}

// fail answers a request that no instance answered.
func (x *exchange) fail(r *http.Request, err error) {
	_, refused := errors.AsType[refusedError](err)
	switch cause := context.Cause(r.Context()); {
	case refused, errors.Is(err, errUnknownHost), errors.Is(err, errMethod), errors.Is(err, errNoUpgrade), errors.Is(err, errRedirect):
	case errors.Is(cause, errRequestLimit):
		err = errRequestLimit
	case errors.Is(cause, errUserSlow):
		err = errUserSlow
	case cause != nil:
		err = errUserGone
	case x.bodyFail.Load():
		err = errUserBody
	case malformed(err):
		err = errProtocol
	}
	way, status, text := ending(err)
	x.ends.add(way)
	switch way {
	case endLimit, endReset, endProtocol, endBody, endSlow, endGone:
		x.hangUp(r)
	default:
	}
	if status == 0 {
		x.status = statusClientGone
		status = http.StatusServiceUnavailable // nobody is there to see it
	}
	if way == endRedirect {
		x.Header().Set("Location", x.proxy.redirect.location(r.Host, r.RequestURI))
	}
	if x.proxy.explain {
		x.Header().Set(reasonHeader, way.reason())
	}
	x.reply(r, status, text)
}

// cut returns in which way an answer that had begun has ended early.
func (x *exchange) cut(r *http.Request) end {
	switch cause := context.Cause(r.Context()); {
	case errors.Is(cause, errRequestLimit):
		return endLimit
	case errors.Is(cause, errUserSlow):
		return endSlow
	case cause != nil:
		return endGone
	default:
		return endCut
	}
}

// malformed reports whether net/http could not make sense of what the instance answered. Its errors
// for that have no type; those for a lost connection are of the network, or io.EOF.
func malformed(err error) bool {
	var network net.Error
	var refused *connectError
	return !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &network) &&
		!errors.As(err, &refused) && !errors.Is(err, errNoInstance) && !errors.Is(err, errOverloaded) &&
		!strings.Contains(err.Error(), "server closed idle connection")
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
	if x.clock.stream != nil && body != "" {
		_ = x.clock.stream.SetWriteDeadline(time.Now().Add(answerSlack)) // nobody watches it then
	}
	if body != "" && r.Method != http.MethodHead {
		_, _ = io.WriteString(x, body) // a client that is gone is no one's concern
	}
}

// record tells the control plane about the exchange, now that it is over.
func (x *exchange) record(r *http.Request, log *accessLog) {
	if x.status == 0 {
		x.status = statusClientGone // the relay gave up before it had anything to send
	}
	if x.breaker == nil {
		return
	}
	took := time.Since(x.start)
	x.breaker.answered(x.status, took)
	set := x.breaker.set.Load()
	a := Access{
		Time: x.start, Status: x.status, Duration: took, Upstream: x.upstream, Bytes: x.bytes,
	}
	if x.instance != nil {
		set, a.Instance = x.instance.set, x.instance.id
	}
	if !set.options.AccessLog {
		return
	}
	a.Service, a.Revision = set.service, set.revision
	a.Method, a.Host, a.Target = clip(r.Method, 32), clip(r.Host, 255), clip(r.RequestURI, maxLogged)
	a.Protocol, a.Client = r.Proto, clientAddr(r.RemoteAddr)
	a.UserAgent, a.Referer = clip(r.UserAgent(), maxLogged), clip(r.Referer(), maxLogged)
	a.RequestID = clip(x.requestID, maxLogged)
	log.add(a)
}

// clip returns at most n bytes of s, in memory of their own: s is part of the request's header.
func clip(s string, n int) string { return strings.Clone(s[:min(n, len(s))]) }
