package router

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// receive reads the instance's answer and passes it on.
func (c *userConn) receive() error {
	x, w := &c.ride, c.work
	n, err := c.finalHead()
	if err != nil {
		return err
	}
	x.backend.answered()
	x.upstream = max(c.relay.watch.now()-x.chosen, 1)
	if w.res.status == http.StatusSwitchingProtocols {
		return c.tunnel(n)
	}
	in := w.res.body(w.req.method)
	out := in.passedOn(w.req.minor)
	c.decideKeep(out)
	x.status, x.started = w.res.status, true
	w.out = c.appendResponse(w.out[:0], out)
	b := body{in: in, out: out, left: w.res.length}
	w.answers.reset(out == chunkedBy)
	err = c.passBody(&b, w.answer[n:x.got])
	c.reset = err != nil && x.started && out == untilEnd // or it would look complete
	return err
}

// decideKeep works out what becomes of the user's connection, before its response is sent.
func (c *userConn) decideKeep(out bodyKind) {
	x := &c.ride
	if x.pump != nil {
		x.pump.settle()
	}
	if out == untilEnd || x.bodyLeft || c.relay.closing.Load() {
		x.keep = false
	}
}

// finalHead reads up to the header section of the final response, passing on informational ones,
// and returns its length.
func (c *userConn) finalHead() (int, error) {
	x, w := &c.ride, c.work
	scanned := 0
	for {
		n := headEnd(w.answer[:x.got], scanned)
		switch {
		case n < 0, n == 0 && x.got >= maxAnswerHeader:
			return 0, errProtocol
		case n == 0:
			scanned = x.got
			if err := c.readHead(); err != nil {
				return 0, err
			}
			continue
		}
		if !w.res.parse(w.answer[:n]) {
			return 0, errProtocol
		}
		if w.res.status == http.StatusSwitchingProtocols && !c.mayUpgrade() {
			return 0, errProtocol
		}
		if w.res.status >= http.StatusOK || w.res.status == http.StatusSwitchingProtocols {
			return n, nil
		}
		if err := c.passInformation(); err != nil {
			return 0, err
		}
		x.got = copy(w.answer, w.answer[n:x.got])
		scanned = 0
	}
}

// continueLimit is how long an instance may take to say that it wants the body the user announced.
const continueLimit = time.Second

// readHead reads more of a header section.
func (c *userConn) readHead() error {
	x, w := &c.ride, c.work
	if x.got == len(w.answer) {
		w.answer = append(w.answer, make([]byte, len(w.answer))...)
	}
	waits := w.req.expect && x.pump == nil && x.bodyLeft
	if waits {
		_ = x.in.tcp.SetReadDeadline(time.Now().Add(continueLimit)) // if it is closed, read says so
	}
	n, err := x.in.read(w.answer[x.got:])
	x.got += n
	if waits && c.fate() == 0 {
		_ = x.in.tcp.SetReadDeadline(time.Time{})
	}
	switch {
	case err == nil:
		return nil
	case c.fate() != 0:
		return c.ended()
	case waits && errors.Is(err, os.ErrDeadlineExceeded):
		return c.invite([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	case x.pump != nil && errors.Is(err, os.ErrDeadlineExceeded):
		<-x.pump.done // it has set the deadline, because there is no body to answer, and is about to end
		return errors.Join(x.pump.failed(), err)
	case x.pump != nil && x.pump.failed() != nil:
		return x.pump.failed()
	case x.got > 0:
		return errProtocol // ended within its header
	default:
		return err
	}
}

// invite has the user send the body it announced.
func (c *userConn) invite(head []byte) error {
	if _, err := c.conn.Write(head); err != nil {
		return errUserGone
	}
	c.work.req.expect = false
	c.startPump()
	return nil
}

// passInformation passes a 1xx response on, if the user's version of HTTP has them.
func (c *userConn) passInformation() error {
	w := c.work
	w.out = c.appendResponse(w.out[:0], noBody)
	if w.res.status == http.StatusContinue {
		if c.ride.bodyLeft && w.req.expect && c.ride.pump == nil {
			return c.invite(w.out)
		}
		return nil // nobody asked
	}
	if w.req.minor == 0 {
		return nil
	}
	if _, err := c.conn.Write(w.out); err != nil {
		return errUserGone
	}
	return nil
}

// body is a response's body on its way.
type body struct {
	in, out bodyKind
	left    int64 // of a lengthed one
	end     bool  // all of it has come
	extra   bool  // and something that does not belong to it
}

// take decodes a piece of the body in place and returns what of it is to be passed on.
func (b *body) take(piece []byte, d *chunks) ([]byte, error) {
	switch b.in {
	case noBody:
		b.end, b.extra = true, len(piece) > 0
		return nil, nil
	case lengthed:
		n := int(min(b.left, int64(len(piece))))
		b.left -= int64(n)
		b.end, b.extra = b.left == 0, len(piece) > n
		return piece[:n], nil
	case chunkedBy:
		kept, used, err := d.next(piece)
		b.end, b.extra = d.done(), used < len(piece)
		return piece[:kept], err
	default:
		return piece, nil
	}
}

// passBody sends what is in work.out and the body, of which first has come with the header.
func (c *userConn) passBody(b *body, first []byte) error {
	x, w := &c.ride, c.work
	piece, err := b.take(first, &w.answers)
	if err != nil {
		x.started, x.status = false, 0 // nothing was sent yet
		return errProtocol
	}
	w.out = c.appendPiece(w.out, b, piece)
	if b.end {
		return c.passLast(b, w.out)
	}
	if err := c.toUser(w.out); err != nil {
		return err
	}
	buf := w.answer
	if b.in != lengthed || b.left > int64(len(buf)) {
		large := c.relay.buffers.Get().(*[]byte)
		defer c.relay.buffers.Put(large)
		buf = *large
	}
	for {
		const before, behind = 16, 2 // room for the size of a chunk and for its end
		if !c.enter(phaseExchange, min(x.limit, c.relay.watch.soon()+int64(c.relay.cfg.StreamLimit))) {
			return c.ended()
		}
		n, err := x.in.read(buf[before : len(buf)-behind])
		if err != nil {
			return c.bodyEnded(b, err)
		}
		piece, err := b.take(buf[before:before+n], &w.answers)
		if err != nil {
			return errCut
		}
		if b.out == chunkedBy && b.in != chunkedBy {
			w.out = c.appendPiece(w.out[:0], b, piece)
			piece = w.out
		} else {
			x.bytes += int64(len(piece))
		}
		if b.end {
			if b.out == chunkedBy {
				piece = w.answers.appendEnd(piece)
			}
			return c.passLast(b, piece)
		}
		if err := c.toUser(piece); err != nil {
			return err
		}
	}
}

// appendPiece appends a piece of the body in the form it is passed on.
func (c *userConn) appendPiece(dst []byte, b *body, piece []byte) []byte {
	c.ride.bytes += int64(len(piece))
	if b.out == chunkedBy && b.in != chunkedBy {
		if len(piece) == 0 {
			return dst
		}
		dst = append(appendChunkSize(dst, len(piece)), piece...)
		return append(dst, "\r\n"...)
	}
	dst = append(dst, piece...)
	if b.end && b.out == chunkedBy {
		dst = c.work.answers.appendEnd(dst)
	}
	return dst
}

// bodyEnded is called when reading the body has failed: for one without a length that is its end.
func (c *userConn) bodyEnded(b *body, err error) error {
	switch {
	case c.fate() != 0:
		return c.ended()
	case b.in == untilEnd && errors.Is(err, io.EOF):
		b.end, b.extra = true, true
		var last []byte
		if b.out == chunkedBy {
			last = []byte("0\r\n\r\n")
		}
		return c.passLast(b, last)
	default:
		return errCut
	}
}

// passLast sends the last piece. The instance is done with the request before that.
func (c *userConn) passLast(b *body, piece []byte) error {
	x := &c.ride
	if x.pump != nil {
		x.pump.finished()
	}
	if !b.extra && !x.bodyLeft && c.work.res.keepsAlive() {
		c.keepInstance()
	}
	return c.toUser(piece)
}

// toUser sends bytes to the user.
func (c *userConn) toUser(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if !c.enter(phaseSend, min(c.ride.limit, c.relay.watch.soon()+int64(c.relay.cfg.StallLimit))) {
		return c.ended()
	}
	if _, err := c.conn.Write(b); err != nil {
		if c.fate() != 0 {
			return c.ended()
		}
		return errUserGone
	}
	return nil
}
