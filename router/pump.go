package router

import (
	"errors"
	"sync/atomic"
	"time"
)

// pump sends the part of a request's body that had not arrived with the header, while the connection's
// own goroutine reads the answer: either side may want to hear from the other before it goes on.
type pump struct {
	conn *userConn
	in   *instanceConn
	left int64 // of a body with a length
	done chan struct{}
	last atomic.Bool // all of the body was read, and is being sent
	over bool        // done was seen closed
	// Set before done is closed.
	err  error  // nil: all of the body was sent
	rest []byte // what came behind the body
}

// beginBody appends what has arrived of the request's body to work.out.
func (c *userConn) beginBody() error {
	x, w := &c.ride, c.work
	if !x.bodyLeft {
		return nil
	}
	arrived := w.in[w.headLen:w.have]
	if w.req.chunked {
		w.upload.reset(true)
		kept, used, err := w.upload.next(arrived)
		if err != nil {
			return errUserBody
		}
		w.out = append(w.out, arrived[:kept]...)
		if x.used += used; w.upload.done() {
			w.out = w.upload.appendEnd(w.out)
			x.bodyLeft = false
		}
		return nil
	}
	n := int(min(w.req.length, int64(len(arrived))))
	w.out = append(w.out, arrived[:n]...)
	x.used += n
	x.bodyLeft = int64(n) < w.req.length
	return nil
}

// startPump begins to send the rest of the body.
func (c *userConn) startPump() {
	x, w := &c.ride, c.work
	p := &pump{conn: c, in: x.in, left: w.req.length - int64(x.used-w.headLen), done: make(chan struct{})}
	x.pump = p
	go p.run()
}

func (p *pump) run() {
	defer close(p.done)
	buf := p.conn.relay.buffers.Get().(*[]byte)
	defer p.conn.relay.buffers.Put(buf)
	p.err = p.copy(*buf)
	if p.err != nil && errors.Is(p.err, errUserBody) {
		_ = p.in.tcp.SetReadDeadline(time.Unix(1, 0)) // there will be no answer worth waiting for
	}
}

func (p *pump) copy(buf []byte) error {
	c := p.conn
	w := c.work
	for {
		c.uploadBy.Store(c.relay.watch.soon() + int64(c.relay.cfg.StallLimit))
		n, err := c.conn.Read(buf)
		c.uploadBy.Store(0)
		if n == 0 {
			if err == nil {
				continue
			}
			return errUserBody
		}
		piece, end, err := p.take(buf[:n], w)
		if err != nil {
			return err
		}
		p.last.Store(end)
		if _, err := p.in.tcp.Write(piece); err != nil {
			return errInstanceDeaf
		}
		if end {
			return nil
		}
	}
}

// errInstanceDeaf is an instance that takes no more of the body. It may have answered all the same.
var errInstanceDeaf = errors.New("the instance does not read the body")

// take decodes a piece of the body.
func (p *pump) take(b []byte, w *work) (piece []byte, end bool, err error) {
	if !w.req.chunked {
		n := int(min(p.left, int64(len(b))))
		p.left -= int64(n)
		p.keepRest(b[n:])
		return b[:n], p.left == 0, nil
	}
	kept, used, err := w.upload.next(b)
	if err != nil {
		return nil, false, errUserBody
	}
	p.keepRest(b[used:])
	piece = b[:kept]
	if w.upload.done() {
		piece = w.upload.appendEnd(piece)
	}
	return piece, w.upload.done(), nil
}

func (p *pump) keepRest(b []byte) {
	if len(b) > 0 {
		p.rest = append(p.rest, b...)
	}
}

// finished reports whether the pump has ended, and takes in what it leaves then.
func (p *pump) finished() bool {
	if p.over {
		return true
	}
	select {
	case <-p.done:
	default:
		return false
	}
	p.over = true
	if p.err != nil {
		return true
	}
	c := p.conn
	c.ride.bodyLeft = false
	w := c.work
	// What is behind the header has been used up; what the pump read too much takes its place.
	c.ride.used = w.headLen
	w.in = append(w.in[:w.headLen], p.rest...)
	w.have = len(w.in)
	w.in = w.in[:cap(w.in)]
	return true
}

// settle is finished for an instance that has begun to answer: if it has read all of the body, the
// pump's end can only be a moment away.
func (p *pump) settle() {
	if p.finished() || !p.last.Load() {
		return
	}
	timer := time.NewTimer(settleLimit)
	defer timer.Stop()
	select {
	case <-p.done:
		p.finished()
	case <-timer.C:
	}
}

const settleLimit = 50 * time.Millisecond

// failed returns why the pump has ended without sending all of the body, or nil.
func (p *pump) failed() error {
	if !p.finished() || errors.Is(p.err, errInstanceDeaf) {
		return nil
	}
	return p.err
}

// joinPump waits for the pump, and makes it end if need be.
func (c *userConn) joinPump() {
	p := c.ride.pump
	if p == nil || p.finished() {
		return
	}
	past := time.Unix(1, 0)
	_ = c.tcp.SetReadDeadline(past)
	if c.ride.in != nil {
		_ = p.in.tcp.SetDeadline(past)
	}
	<-p.done
	p.finished()
	if c.fate() == 0 {
		_ = c.tcp.SetReadDeadline(time.Time{})
		if c.ride.in != nil {
			_ = p.in.tcp.SetDeadline(time.Time{}) // a tunnel may begin
		}
	}
}
