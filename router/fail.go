package router

import (
	"errors"
	"net/http"
	"time"
)

// ended says why the watch ended the connection.
func (c *userConn) ended() error { return c.why(c.fate()) }

// why says what a fate means.
func (c *userConn) why(fate phase) error {
	switch {
	case fate == phaseGone:
		return errUserGone
	case c.relay.watch.now() >= c.ride.limit:
		return errRequestLimit
	default:
		return errUserSlow
	}
}

// fail answers a request that no instance answered, or ends the connection when an answer had begun.
func (c *userConn) fail(err error) {
	x, w := &c.ride, c.work
	if errors.Is(err, errStandard) {
		c.standard()
		return
	}
	if c.fate() != 0 {
		x.keep = false
		if !errors.Is(err, errUserGone) {
			err = c.ended()
		}
	}
	if x.started {
		x.keep = false
		if errors.Is(err, errCut) {
			c.relay.ends.add(endCut)
			return
		}
		way, _, _ := ending(err)
		c.relay.ends.add(way)
		return
	}
	way, status, text := ending(err)
	c.relay.ends.add(way)
	if way == endReset || way == endProtocol {
		x.backend.failed(time.Now())
	}
	if status == 0 {
		x.status, x.keep = statusClientGone, false
		return
	}
	if x.bodyLeft || way == endLimit || way == endReset || way == endProtocol {
		x.keep = false
	}
	x.status = status
	w.out = appendAnswer(w.out[:0], w.req.minor, status, text, c.relay.clock())
	if way == endRedirect {
		w.out = appendField(w.out, []byte("Location"), []byte(c.relay.proxy.redirect.location(string(w.req.host), string(w.req.target))))
	}
	if c.relay.cfg.Explain {
		w.out = appendField(w.out, []byte(reasonHeader), []byte(way.reason()))
	}
	w.out = append(c.appendPersistence(w.out), "\r\n"...)
	if string(w.req.method) != http.MethodHead {
		w.out = append(w.out, text...)
		x.bytes = int64(len(text))
	}
	if c.fate() != 0 {
		_ = c.tcp.SetDeadline(time.Now().Add(answerSlack)) // the watch has set one that is past
	} else if !c.enter(phaseSend, c.relay.watch.now()+int64(answerSlack)) {
		return
	}
	x.started = true
	if _, err := c.conn.Write(w.out); err != nil {
		x.keep = false
	}
}
