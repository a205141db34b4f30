package router

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"apron"
)

// rewrite makes the request that the instance sees out of the client's.
func (p *proxy) rewrite(pr *httputil.ProxyRequest) {
	in, out := pr.In, pr.Out
	out.URL.Scheme = "http"
	out.URL.RawQuery = in.URL.RawQuery // as sent: an application may rely on what net/url calls malformed
	if path, _, _ := strings.Cut(in.RequestURI, "?"); strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		out.URL.Opaque = path // as well
	}
	out.Trailer = in.Trailer // the one that is filled in when the body ends
	at := attemptOf(in.Context())
	x := at.exchange
	if out.Body != nil {
		x.body = &requestBody{
			ReadCloser: out.Body, user: in.Body, exchange: x,
			h2c: at.backend.set.options.Protocol == apron.ProtocolH2C,
		}
		out.Body = x.body
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
	h["X-Forwarded-Port"] = []string{localPort(in.Context())}
	h["X-Envoy-Expected-Rq-Timeout-Ms"] = []string{strconv.FormatInt(at.backend.set.requestTimeout.Milliseconds(), 10)}
	x.requestID = h.Get("X-Request-Id")
	if x.requestID == "" {
		x.requestID = string(appendRequestID(nil))
	}
	h["X-Request-Id"] = []string{x.requestID}
	if strings.EqualFold(h.Get("Upgrade"), "h2c") {
		delete(h, "Upgrade") // what the tunnel would carry are requests that nobody checks
		delete(h, "Connection")
	}
	delete(h, "Http2-Settings")
}

// modifyResponse makes the response that the client sees out of the instance's.
func modifyResponse(res *http.Response) error {
	x := attemptOf(res.Request.Context()).exchange
	if res.StatusCode == http.StatusSwitchingProtocols && res.Request.Header.Get("Upgrade") == "" {
		return errProtocol // the reverse proxy would leave the connection open
	}
	if lengths := res.Header["Content-Length"]; res.ProtoMajor == 2 && len(lengths) > 0 {
		// Net/http does not mind what HTTP/1 could not say.
		n, ok := parseLength([]byte(lengths[0]))
		if !ok || len(lengths) > 1 {
			return errProtocol
		}
		lengths[0] = strconv.FormatInt(n, 10)
	}
	res.Header["Server"] = []string{serverName}
	res.Header["X-Envoy-Upstream-Service-Time"] = []string{strconv.FormatInt(x.upstream.Milliseconds(), 10)}
	x.bodyless = res.ContentLength == 0 && len(res.Trailer) == 0
	if x.http10 {
		res.Trailer = nil // it has none
	}
	if _, ok := res.Header["Content-Type"]; !ok {
		x.Header()["Content-Type"] = nil // keeps net/http from guessing one
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.clock.stop() // a tunnel may stay open
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

// localPort returns the port that the user of a request connected to.
func localPort(ctx context.Context) string {
	if addr, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return strconv.Itoa(addr.Port)
	}
	return ""
}

// bufferPool lends the buffers that bodies are copied through.
type bufferPool struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, copyBufferBytes)
}

// Put implements httputil.BufferPool.
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }
