package router

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"apron"
)

const (
	// connectLimit is how long an instance may take to accept a connection: it is one hop away.
	connectLimit = time.Second
	// idleUpstream is how long a connection to an instance is kept for the next request. It is below
	// the shortest keep-alive of common application servers (gunicorn 2 s, Node.js 5 s): a request
	// that is not idempotent cannot be sent again when the instance closes its end just then.
	idleUpstream    = 1500 * time.Millisecond
	idlePerInstance = 256
	// idleUpstreamHTTP2 is longer, because in HTTP/2 who closes a connection says which requests were
	// not looked at.
	idleUpstreamHTTP2 = 90 * time.Second
	maxAnswerHeader   = 1 << 20 // bytes of an instance's response header
	copyBufferBytes   = 32 << 10
)

// proxy answers every request of a user: it finds the route, waits for a slot of an instance and
// relays. This file is the seam where another relay can take the place of the standard library's.
type proxy struct {
	routes    *routes
	access    *accessLog
	ends      *ends
	redirect  redirection // set before the first request
	explain   bool
	stall     time.Duration // Config.StallLimit
	reverse   httputil.ReverseProxy
	transport *http.Transport // to instances that speak HTTP/1.1
	h2c       *http.Transport // to those that speak HTTP/2
	open      sync.WaitGroup  // requests being answered, upgraded connections included
	busy      atomic.Int64    // how many
}

func newProxy(cfg Config, r *routes, access *accessLog, e *ends) *proxy {
	p := &proxy{routes: r, access: access, ends: e, explain: cfg.Explain, stall: cfg.StallLimit}
	p.transport = &http.Transport{
		DialContext:            dialInstance,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idlePerInstance,
		IdleConnTimeout:        idleUpstream,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
	p.h2c = &http.Transport{
		DialContext:            dialInstance,
		DisableCompression:     true,
		IdleConnTimeout:        idleUpstreamHTTP2,
		MaxResponseHeaderBytes: maxAnswerHeader,
		Protocols:              new(http.Protocols),
	}
	p.h2c.Protocols.SetUnencryptedHTTP2(true)
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
	p.busy.Add(1)
	defer p.busy.Add(-1)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &exchange{ResponseWriter: w, start: time.Now(), ends: p.ends, proxy: p, http10: r.ProtoMajor == 1 && r.ProtoMinor == 0}
	x.clock.init(x.start, cancel)
	if r.ProtoMajor == 2 { // of HTTP/1 the connection takes care
		x.clock.stream, x.clock.stall = http.NewResponseController(w), p.stall
	}
	first := &attempt{exchange: x}
	r = r.WithContext(context.WithValue(ctx, attemptKey{}, first))
	defer func() { p.finish(x, r) }()
	p.answer(ctx, x, first, r)
	x.returned = true
}

// answer has an instance answer the request, or does it itself.
func (p *proxy) answer(ctx context.Context, x *exchange, first *attempt, r *http.Request) {
	if r.Method == http.MethodConnect {
		x.fail(r, errMethod)
		return
	}
	if r.ProtoMajor == 2 {
		if err := checkTranslated(r); err != nil {
			x.fail(r, err)
			return
		}
	}
	if r.ContentLength != 0 {
		// An answer may begin before the body has ended; net/http would first read all of it.
		_ = http.NewResponseController(x.ResponseWriter).EnableFullDuplex() // HTTP/2 needs no asking
	}
	backend, err := p.enter(ctx, x, r)
	if err != nil {
		x.fail(r, err)
		return
	}
	first.backend = backend
	p.reverse.ServeHTTP(x, r)
}

// enter finds the route of the request and waits for a slot of one of its instances.
func (p *proxy) enter(ctx context.Context, x *exchange, r *http.Request) (*backend, error) {
	for {
		t := p.routes.current.Load()
		x.breaker = t.lookup(r.Host)
		if x.breaker == nil {
			return nil, errUnknownHost
		}
		set := x.breaker.set.Load()
		if set.options.NoWebSocket && upgrades(r) {
			return nil, errNoUpgrade
		}
		if p.redirect.on && r.TLS == nil {
			return nil, errRedirect
		}
		x.clock.limit(set.requestTimeout)
		b, err := x.acquire(ctx)
		// The host may have got another route while the request was between table and breaker.
		if errors.Is(err, errNoInstance) && !errors.Is(err, errStarting) && p.routes.current.Load() != t {
			continue
		}
		return b, err
	}
}

// upgrades reports whether the request asks for another protocol on its connection.
func upgrades(r *http.Request) bool {
	if r.ProtoMajor != 1 || r.Header.Get("Upgrade") == "" || strings.EqualFold(r.Header.Get("Upgrade"), "h2c") {
		return false
	}
	asks := false
	for _, value := range r.Header["Connection"] {
		eachOption([]byte(value), func(option []byte) bool {
			asks = asks || foldEqual(option, "upgrade")
			return !asks
		})
	}
	return asks
}

// RoundTrip sends the request to the instance it has a slot of, and to another one as long as
// connecting fails: nothing of the request has been sent then. What was lost on a connection that
// had been idle is sent again by http.Transport where that is safe.
func (p *proxy) RoundTrip(req *http.Request) (*http.Response, error) {
	at := attemptOf(req.Context())
	x := at.exchange
	for {
		req.URL.Host = at.backend.host
		transport := p.transport
		if at.backend.set.options.Protocol == apron.ProtocolH2C {
			transport = p.h2c
		}
		if x.body != nil {
			x.body.closed.Store(false)
		}
		res, err := transport.RoundTrip(req)
		if err == nil {
			at.backend.answered()
			x.upstream = time.Since(x.chosen)
			return res, nil
		}
		if _, refused := errors.AsType[*connectError](err); !refused {
			if req.Context().Err() == nil && !x.bodyFail.Load() {
				at.backend.failed(time.Now())
			}
			return nil, err
		}
		if !short(err) {
			at.backend.connectFailed(time.Now())
		}
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
	x.clock.stop()
	p.release(x)
	if !x.returned { // an answer that had begun is being cut short by a panic
		p.ends.add(x.cut(r))
	}
	x.record(r, p.access)
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
