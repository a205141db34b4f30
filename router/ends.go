package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
)

// statusClientGone is recorded when the client left before there was an answer. It is never sent.
const statusClientGone = 499

var (
	errUnknownHost  = errors.New("no route has this host")
	errRequestLimit = errors.New("the request took longer than it may")
	errUserGone     = errors.New("the user left, or the router ends and has waited long enough")
	errUserSlow     = errors.New("the user stopped sending or receiving")
	errUserBody     = errors.New("the request's body could not be read")
	errNoUpgrade    = errors.New("the route takes no upgrades")
	errProtocol     = errors.New("the instance's response is malformed")
	errCut          = errors.New("the instance's response ended early")
	errRedirect     = errors.New("the route is for TLS")
	errMethod       = errors.New("the router opens no tunnels")
)

// end is a way in which the router, and not an instance, ends a request.
type end uint8

const (
	endRefusedRequest end = iota // 400, 405, 417, 431 or 505: not a request the router passes on
	endUnknownHost               // 404
	endForbidden                 // 403: an upgrade, on a route without them
	endOverload                  // 429
	endNoInstance                // 503: the route has none
	endConnect                   // 503: none of them accepted a connection
	endReset                     // 503: the connection was lost before the response's header
	endProtocol                  // 502: the response was malformed
	endLimit                     // 504, or cut: the request's time was over
	endBody                      // 400: the body could not be read, or was malformed
	endSlow                      // cut: the user stopped sending or receiving
	endGone                      // the user left
	endCut                       // the response ended early
	endRedirect                  // 301
	endCount                     // how many there are
)

// reason is what the way is called in the counters and in the header of an answer.
func (e end) reason() string {
	return [endCount]string{
		"refused-request", "unknown-host", "forbidden", "overload", "no-instance", "connect", "reset",
		"protocol", "limit", "body", "slow-user", "user-gone", "cut", "redirect",
	}[e]
}

// ends counts the requests ended in each way.
type ends struct {
	counts  [endCount]atomic.Uint64
	changed func() // called after each; must not block
}

func (c *ends) add(e end) {
	c.counts[e].Add(1)
	c.changed()
}

// ending returns which way err is, the status that tells the user, and the text; the texts are
// Envoy's where it has one. Status 0: the user is told nothing.
func ending(err error) (e end, status int, text string) {
	var refused *connectError
	var not refusedError
	switch {
	case errors.As(err, &not):
		return endRefusedRequest, int(not), ""
	case errors.Is(err, errMethod):
		return endRefusedRequest, http.StatusMethodNotAllowed, ""
	case errors.Is(err, errRedirect):
		return endRedirect, http.StatusMovedPermanently, ""
	case errors.Is(err, errUnknownHost):
		return endUnknownHost, http.StatusNotFound, ""
	case errors.Is(err, errNoUpgrade):
		return endForbidden, http.StatusForbidden, ""
	case errors.Is(err, errRequestLimit):
		return endLimit, http.StatusGatewayTimeout, "upstream request timeout"
	case errors.Is(err, errUserGone), errors.Is(err, context.Canceled):
		return endGone, 0, ""
	case errors.Is(err, errUserSlow):
		return endSlow, http.StatusRequestTimeout, ""
	case errors.Is(err, errOverloaded):
		return endOverload, http.StatusTooManyRequests, "Too Many Requests"
	case errors.Is(err, errNoInstance):
		return endNoInstance, http.StatusServiceUnavailable, "no healthy upstream"
	case errors.As(err, &refused):
		return endConnect, http.StatusServiceUnavailable, resetBeforeHeaders + connectReason(refused.err)
	case errors.Is(err, errUserBody):
		return endBody, http.StatusBadRequest, ""
	case errors.Is(err, errProtocol):
		return endProtocol, http.StatusBadGateway, resetBeforeHeaders + "protocol error"
	default:
		return endReset, http.StatusServiceUnavailable, resetBeforeHeaders + "connection termination"
	}
}

// reasonHeader says, with Config.Explain, why the router and not an instance has answered.
const reasonHeader = "X-Apron-Reason"

// redirection is where users of the plain listener are sent.
type redirection struct {
	on   bool
	port string // with its colon; empty: that of https
}

func newRedirection(cfg Config, https string) redirection {
	r := redirection{on: cfg.Redirect && https != ""}
	if _, port, err := net.SplitHostPort(https); err == nil && port != "443" {
		r.port = ":" + port
	}
	return r
}

// location returns where a request goes. host must be one that a route has.
func (r redirection) location(host, target string) string {
	if name, _, ok := strings.Cut(host, ":"); ok {
		host = name
	}
	if target == "*" {
		target = "/"
	}
	return "https://" + host + r.port + target
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
