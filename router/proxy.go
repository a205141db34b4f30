package router

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// connectLimit is how long an instance may take to accept a connection: it is one hop away.
	connectLimit = time.Second
	// idleUpstream is how long a connection to an instance is kept for the next request. It is below
	// the shortest keep-alive of common application servers (gunicorn 2 s, Node.js 5 s): a request
	// that is not idempotent cannot be sent again when the instance closes its end just then.
	idleUpstream     = 1500 * time.Millisecond
	idlePerInstance  = 256
	maxAnswerHeader  = 1 << 20 // bytes of an instance's response header
	relayBufferBytes = 32 << 10
)

// proxy answers every request of a user: it finds the route, waits for a slot of an instance and
// relays. This file is the seam where another relay can take the place of the standard library's.
type proxy struct {
	routes    *routes
	access    *accessLog
	limit     time.Duration // of a request in all
	limitMS   string        // the same, for the instance to know
	reverse   httputil.ReverseProxy
	transport *http.Transport
	open      sync.WaitGroup // requests being answered, upgraded connections included
}

func newProxy(cfg Config, r *routes, access *accessLog) *proxy {
	p := &proxy{routes: r, access: access, limit: cfg.RequestLimit, limitMS: strconv.FormatInt(cfg.RequestLimit.Milliseconds(), 10)}
	p.transport = &http.Transport{
		DialContext:            dialInstance,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idlePerInstance,
		IdleConnTimeout:        idleUpstream,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
	p.reverse = httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      p,
		FlushInterval:  -1, // at once: an application's events and progress are not held back
		ErrorLog:       slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		BufferPool:     &bufferPool{},
		ModifyResponse: modifyResponse,
		ErrorHandler: func(_ http.ResponseWriter, req *http.Request, err error) {
			attemptOf(req.Context()).exchange.fail(req, err)
		},
	}
	return p
}

// ServeHTTP answers one request.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.open.Add(1)
	defer p.open.Done()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &exchange{ResponseWriter: w, start: time.Now(), cancel: cancel}
	x.timer = time.AfterFunc(p.limit, func() { cancel(errRequestLimit) })
	defer p.finish(x, r)

	if r.ContentLength != 0 {
		// An answer may begin before the body has ended; net/http would first read all of it.
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 needs no asking
	}

	first := &attempt{exchange: x}
	r = r.WithContext(context.WithValue(ctx, attemptKey{}, first))
	backend, err := p.enter(ctx, x, r.Host)
	if err != nil {
		x.fail(r, err)
		return
	}
	first.backend = backend
	p.reverse.ServeHTTP(x, r)
}

// enter finds the route of host and waits for a slot of one of its instances.
func (p *proxy) enter(ctx context.Context, x *exchange, host string) (*backend, error) {
	for {
		t := p.routes.current.Load()
		x.breaker = t.lookup(host)
		if x.breaker == nil {
			return nil, errUnknownHost
		}
		b, err := x.acquire(ctx)
		// The host may have got another route while the request was between table and breaker.
		if errors.Is(err, errNoInstance) && p.routes.current.Load() != t {
			continue
		}
		return b, err
	}
}

// RoundTrip sends the request to the instance it has a slot of, and to another one as long as
// connecting fails: nothing of the request has been sent then. What was lost on a connection that
// had been idle is sent again by http.Transport where that is safe.
func (p *proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	at := attemptOf(req.Context())
	x := at.exchange
	for {
		req.URL.Host = at.backend.host
		res, err := p.transport.RoundTrip(req)
		if err == nil {
			at.backend.connected()
			x.upstream = time.Since(x.chosen)
			return res, nil
		}
		if _, refused := errors.AsType[*connectError](err); !refused {
			return nil, err
		}
		at.backend.connectFailed(time.Now())
		p.release(x)
		x.tried = append(x.tried, at.backend.target)
		next, again := x.acquire(req.Context())
		if errors.Is(again, errNoInstance) {
			return nil, err
		}
		if again != nil {
			return nil, again
		}
		at = &attempt{exchange: x, backend: next}
		req = req.WithContext(context.WithValue(req.Context(), attemptKey{}, at))
	}
}

// finish returns the slot and records the request, however it ended.
func (p *proxy) finish(x *exchange, r *http.Request) {
	x.timer.Stop()
	p.release(x)
	p.access.add(x.record(r))
}

func (p *proxy) release(x *exchange) {
	t := x.held
	if t == nil {
		return
	}
	x.held = nil
	if x.breaker.release(t) {
		p.routes.drain.drained(t)
	}
}

// attempt is one try to send a request to an instance. It is immutable once it is in a context,
// because a connection may still be being made for it when the request is long over.
type attempt struct {
	exchange *exchange
	backend  *backend
}

type attemptKey struct{}

func attemptOf(ctx context.Context) *attempt { return ctx.Value(attemptKey{}).(*attempt) }

// connectError is a connection to an instance that could not be made.
type connectError struct{ err error }

func (e *connectError) Error() string { return "connect to the instance: " + e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// dialInstance connects to the instance of the attempt in ctx; the address the transport passes
// only names it.
func dialInstance(ctx context.Context, network, _ string) (net.Conn, error) {
	d := net.Dialer{Timeout: connectLimit}
	conn, err := d.DialContext(ctx, network, attemptOf(ctx).backend.addr)
	if err != nil {
		return nil, &connectError{err}
	}
	return conn, nil
}

// rewrite makes the request that the instance sees out of the client's.
func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	out.URL.Scheme = "http"
	out.URL.RawQuery = in.URL.RawQuery // as sent: an application may rely on what net/url calls malformed
	x := attemptOf(in.Context()).exchange
	if out.Body != nil {
		out.Body = &requestBody{ReadCloser: out.Body, exchange: x}
	}
	client := clientAddr(in.RemoteAddr)
	forwarded := client
	if prior := in.Header["X-Forwarded-For"]; len(prior) > 0 {
		forwarded = strings.Join(prior, ", ") + ", " + client
	}
	proto := "http"
	if in.TLS != nil {
		proto = "https"
	}
	h := out.Header
	h["X-Forwarded-For"] = []string{forwarded}
	h["X-Forwarded-Proto"] = []string{proto}
	h["X-Envoy-External-Address"] = []string{client}
	h["X-Envoy-Expected-Rq-Timeout-Ms"] = []string{p.limitMS}
	if h.Get("X-Request-Id") == "" {
		h["X-Request-Id"] = []string{newRequestID()}
	}
}

// modifyResponse makes the response that the client sees out of the instance's.
func modifyResponse(res *http.Response) error {
	x := attemptOf(res.Request.Context()).exchange
	res.Header["Server"] = []string{serverName}
	res.Header["X-Envoy-Upstream-Service-Time"] = []string{strconv.FormatInt(x.upstream.Milliseconds(), 10)}
	if _, ok := res.Header["Content-Type"]; !ok {
		x.Header()["Content-Type"] = nil // keeps net/http from guessing one
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.timer.Stop() // a tunnel may stay open
		x.status = res.StatusCode
		// But not longer than the request's context: a client that neither reads nor writes would
		// keep the relay from noticing that it is done.
		x.onHijack = func(c net.Conn) {
			context.AfterFunc(res.Request.Context(), func() { _ = c.Close() })
		}
	}
	return nil
}

// clientAddr returns the address in a connection's remote address, an IPv4 one in its own form.
func clientAddr(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	return ap.Addr().Unmap().WithZone("").String()
}

// newRequestID returns a random UUID (RFC 9562 version 4), the form Envoy uses.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var s [36]byte
	hex.Encode(s[0:8], b[0:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, relayBufferBytes)
}

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
