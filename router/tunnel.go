package router

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// mayUpgrade reports whether a 101 response is to what the user asked for.
func (c *userConn) mayUpgrade() bool {
	w := c.work
	return w.req.upgrade != nil && w.res.upgrade != nil && foldEqualBytes(w.req.upgrade, w.res.upgrade)
}

// tunnel passes the 101 response on, whose header section has n bytes, and then bytes both ways until
// one side ends or nothing has passed for Config.TunnelLimit.
func (c *userConn) tunnel(n int) error {
	x, w := &c.ride, c.work
	if x.pump != nil {
		x.pump.settle()
	}
	if c.joinPump(); x.bodyLeft {
		return errProtocol // it cannot have seen all of the request
	}
	x.keep, x.status, x.started = false, http.StatusSwitchingProtocols, true
	w.out = c.appendUpgraded(w.out[:0])
	w.out = append(w.out, w.answer[n:x.got]...)
	early := w.in[x.used:w.have]
	x.limit = 1 << 62
	if err := c.toUser(w.out); err != nil {
		return err
	}
	c.relay.tunnels.Add(1)
	defer c.relay.tunnels.Add(-1)
	if !c.enter(phaseTunnel, c.relay.watch.now()+int64(c.relay.cfg.TunnelLimit)) {
		return nil
	}
	var toInstance, toUser frameEdge
	if len(early) > 0 {
		toInstance.pass(early)
		if _, err := x.in.tcp.Write(early); err != nil {
			return nil
		}
	}
	toUser.pass(w.answer[n:x.got])
	var up sync.WaitGroup
	up.Go(func() {
		c.carry(x.in.tcp, c.conn, &toInstance)
		if c.fate() == 0 {
			_ = x.in.tcp.CloseWrite() // an application that has more to say may still say it
		}
	})
	x.bytes = int64(x.got-n) + c.carry(c.conn, x.in.tcp, &toUser)
	if c.fate() == 0 {
		// The application has ended the tunnel: so does the user's side, once it has heard.
		c.linger = true
		if t, ok := c.conn.(interface{ CloseWrite() error }); ok {
			_ = t.CloseWrite()
		}
		_ = c.tcp.SetReadDeadline(time.Now().Add(tunnelLinger))
		_ = x.in.tcp.SetWriteDeadline(time.Now().Add(tunnelLinger))
	}
	up.Wait()
	if c.fate() != 0 && foldEqual(w.req.upgrade, "websocket") {
		c.sayGoodbye(&toUser, &toInstance)
	}
	return nil
}

// sayGoodbye ends a WebSocket connection that the router has to end, in the protocol's own way.
func (c *userConn) sayGoodbye(toUser, toInstance *frameEdge) {
	soon := time.Now().Add(tunnelLinger)
	_, _ = c.tcp.SetDeadline(soon), c.ride.in.tcp.SetDeadline(soon) // the watch has set others
	if toUser.atEdge() {
		_, _ = io.WriteString(c.conn, goingAway) // who is gone need not be told
	}
	if toInstance.atEdge() {
		_, _ = io.WriteString(c.ride.in.tcp, goingAwayMasked)
	}
	c.goodbye = true
}

// tunnelLinger is how long the user's side of a tunnel may go on once the application's has ended.
const tunnelLinger = time.Second

// carry copies until from ends or to takes no more, and returns how much.
func (c *userConn) carry(to io.Writer, from io.Reader, edge *frameEdge) (total int64) {
	buf := c.relay.buffers.Get().(*[]byte)
	defer c.relay.buffers.Put(buf)
	for {
		n, err := from.Read(*buf)
		if n > 0 {
			if !c.enter(phaseTunnel, c.relay.watch.soon()+int64(c.relay.cfg.TunnelLimit)) {
				return total
			}
			if _, err := to.Write((*buf)[:n]); err != nil {
				return total
			}
			edge.pass((*buf)[:n])
			total += int64(n)
		}
		if err != nil {
			return total
		}
	}
}

// appendUpgraded appends the header section of the 101 response.
func (c *userConn) appendUpgraded(dst []byte) []byte {
	dst = c.appendResponse(dst, noBody)
	dst = dst[:len(dst)-len("\r\n")]
	dst = append(dst, "Connection: Upgrade\r\n"...)
	dst = appendField(dst, []byte("Upgrade"), c.work.res.upgrade)
	return append(dst, "\r\n"...)
}
