package router

import (
	"bytes"
	"crypto/tls"
)

// shakeHands completes TLS, and reports whether the connection speaks HTTP/1.
func (c *userConn) shakeHands() bool {
	t, ok := c.conn.(*tls.Conn)
	if !ok {
		return c.enter(phaseIdle, c.relay.watch.now()+int64(c.relay.cfg.HeaderLimit))
	}
	if !c.enter(phaseHead, c.relay.watch.now()+int64(c.relay.cfg.HeaderLimit)) || t.Handshake() != nil { //nolint:noctx // the watch ends it
		return false
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		c.handOver(nil)
		return false
	}
	return c.enter(phaseIdle, c.relay.watch.now()+int64(c.relay.cfg.HeaderLimit))
}

// handOver gives a connection that speaks HTTP/2 to the standard library's server, along with what
// was read from it.
func (c *userConn) handOver(read []byte) {
	if !c.enter(phaseIdle, 1<<62) {
		return
	}
	c.relay.watch.remove(c)
	conn := c.conn
	c.shard = nil // neither watched nor closed from here on
	if len(read) > 0 {
		conn = &readConn{Conn: conn, read: bytes.Clone(read)}
	}
	c.relay.standard.give(conn)
}

// tlsState returns the state of the connection's TLS, or nil.
func (c *userConn) tlsState() *tls.ConnectionState {
	t, ok := c.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	return &state
}
