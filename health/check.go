// Package health probes instances and turns probe results into a verdict.
//
// [Check] makes one probe over TCP or HTTP, [Verdict] counts consecutive results against a service's
// thresholds without doing any I/O, [Pace] says when to probe next, and [Follow] runs the three
// together for one process of an instance. Engine drivers that watch over instances themselves call
// Follow; nothing else probes.
package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"apron"
)

// maxAnswerBytes bounds how much of an HTTP answer a probe reads: enough to let a small body end
// cleanly, too little for an application to keep the prober busy.
const maxAnswerBytes = 4 << 10

// userAgent is how App Runner's own health checks announce themselves to applications
// (reference: load balancer health checks, "User-Agent").
const userAgent = "ELB-HealthChecker/2.0"

// Result is what one probe found. Answer says in a few words what came back, pass or fail.
type Result struct {
	OK     bool
	Answer string
}

// Check probes addr once, as c says, and gives up after c.Timeout (2 s when that is zero) or when ctx
// is done. A TCP check passes when the connection is accepted. An HTTP check passes when GET c.Path
// is answered 200: redirects are not followed, as App Runner's are not. Safe for concurrent use.
func Check(ctx context.Context, c apron.HealthCheck, addr netip.AddrPort) Result {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = apron.DefaultHealthCheck().Timeout
	}
	if c.Protocol == apron.HealthCheckHTTP {
		return checkHTTP(ctx, c.Path, addr, timeout)
	}
	return checkTCP(ctx, addr, timeout)
}

func checkTCP(ctx context.Context, addr netip.AddrPort, timeout time.Duration) Result {
	if err := connect(ctx, addr, timeout); err != nil {
		return Result{Answer: fmt.Sprintf("TCP port %d: %s", addr.Port(), reason(err, timeout))}
	}
	return Result{OK: true, Answer: fmt.Sprintf("TCP port %d: connected", addr.Port())}
}

func checkHTTP(ctx context.Context, path string, addr netip.AddrPort, timeout time.Duration) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	where := fmt.Sprintf("HTTP GET %s on port %d: ", path, addr.Port())
	req, err := request(ctx, path, addr)
	if err != nil {
		return Result{Answer: where + "the path is not valid"}
	}
	// A transport of its own: a probe that reused a connection would not notice an application that
	// no longer accepts any.
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return Result{Answer: where + reason(err, timeout)}
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes) // the status has decided already
	return Result{OK: resp.StatusCode == http.StatusOK, Answer: fmt.Sprintf("%sstatus %d", where, resp.StatusCode)}
}

// request builds the probe. The path is split by hand: it may hold a query, and must never be able
// to name another host.
func request(ctx context.Context, path string, addr netip.AddrPort) (*http.Request, error) {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	p, query, _ := strings.Cut(path, "?")
	raw, err := url.PathUnescape(p)
	if err != nil {
		return nil, fmt.Errorf("parse health check path: %w", err)
	}
	u := &url.URL{Scheme: "http", Host: addr.String(), Path: raw, RawPath: p, RawQuery: query}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make health check request: %w", err)
	}
	req.Header.Set("User-Agent", userAgent)
	return req, nil
}

// reason says in a few words why a probe had no answer; the addresses in the full error mean nothing
// to the reader.
func reason(err error, timeout time.Duration) string {
	var ne net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, syscall.EHOSTUNREACH):
		return "host unreachable"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed without an answer"
	case errors.Is(err, context.Canceled):
		return "probe cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &ne) && ne.Timeout():
		return fmt.Sprintf("no answer within %s", timeout)
	default:
		return "no valid answer"
	}
}
