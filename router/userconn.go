package router

import (
	"bytes"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// userConn is a user's connection that speaks HTTP/1. One goroutine has it: it reads a request,
// sends it to an instance and the answer back, and begins anew. Only a body that has not arrived
// with its header, and an upgraded connection, take a second one.
type userConn struct {
	relay *relay
	conn  net.Conn // what is read and written: tcp, or TLS above it
	tcp   *net.TCPConn
	raw   syscall.RawConn
	step  func(fd uintptr) bool // onReadable, made once

	client    string // address of the user
	port      string // that the user connected to
	forwarded string // header fields that are the same for every request of the connection
	secure    bool
	linger    bool // the user may still be sending: it must not lose the answer by a reset
	goodbye   bool // the user has been told that the connection ends
	reset     bool // what was sent must not look complete

	requestID []byte // of the request at hand, when it is to be logged

	work  *work // nil between requests
	first [16]byte
	ride  ride // the exchange at hand

	served   atomic.Bool  // it has had a request answered
	state    atomic.Int64 // phase, and by when it must be over; see watch
	instance atomic.Pointer[instanceConn]
	giveUp   atomic.Pointer[func()] // ends waiting for a slot
	uploadBy atomic.Int64           // by when the next part of a request's body must come; 0: none is waited for
	shard    *watchShard
	slot     int // of shard.conns
	// The watch's own.
	lookedAt, lookAgain, lookPause int64
}

// work is the memory a request takes while it is relayed. Between requests a connection has none.
type work struct {
	in      []byte // from the user
	have    int    // bytes of in in use
	scanned int    // of them hold no end of a header section
	headLen int    // of the request at hand
	out     []byte // what is being sent, to either side
	answer  []byte // from the instance
	host    hostName
	req     request
	res     response
	upload  chunks // of the request's body
	answers chunks // of the response's body
}

const (
	userBufferBytes   = 8 << 10
	answerBufferBytes = 16 << 10
)

func newWork() any {
	return &work{
		in: make([]byte, userBufferBytes), out: make([]byte, 0, userBufferBytes),
		answer: make([]byte, answerBufferBytes),
	}
}

// takeWork makes sure that the connection has working memory.
func (c *userConn) takeWork() *work {
	if c.work == nil {
		c.work = c.relay.works.Get().(*work)
		c.work.have, c.work.scanned = 0, 0
	}
	return c.work
}

func (c *userConn) giveWork() {
	w := c.work
	c.work = nil
	// One request with a huge header must not hold its memory for ever.
	if len(w.in) <= 2*userBufferBytes && cap(w.out) <= 4*answerBufferBytes && len(w.answer) <= 2*answerBufferBytes {
		c.relay.works.Put(w)
	}
}

// serve answers the requests of the connection until it ends.
func (c *userConn) serve() {
	defer c.close()
	if !c.shakeHands() {
		return
	}
	for {
		switch c.await() {
		case hasRequest:
			if !c.exchange() || !c.enter(phaseIdle, c.relay.watch.soon()+int64(c.relay.cfg.IdleLimit)) {
				return
			}
		case hasPreface:
			c.handOver(c.work.in[:c.work.have])
			return
		default:
			return
		}
	}
}

// awaited is what came out of waiting for a request.
type awaited int

const (
	hasMore    awaited = iota // the header section is not complete
	hasRequest                // one is in work.req
	hasPreface                // the user speaks HTTP/2
	hasEnd                    // nothing more is to be read
)

// await waits for a request. On a connection without TLS those that have arrived completely are
// answered on the way, within one call of raw.Read: the runtime then need not be asked before each
// read whether there is anything to read.
func (c *userConn) await() awaited {
	if c.secure {
		return c.awaitSecure()
	}
	c.ride.next = hasMore
	if c.work != nil && c.work.have > 0 { // what came along with the request before
		if c.ride.next = c.parse(); c.ride.next != hasMore {
			return c.ride.next
		}
	}
	if c.raw.Read(c.step) != nil {
		return hasEnd
	}
	return c.ride.next
}

// onReadable is called when there may be something to read, and before. It returns true when what is
// next cannot be done in here: it must not read from the connection but this once.
func (c *userConn) onReadable(fd uintptr) (done bool) {
	for {
		w := c.takeWork()
		if w.have == len(w.in) {
			w.in = append(w.in, make([]byte, len(w.in))...)
		}
		n, errno := readFD(fd, w.in[w.have:])
		if errno == syscall.EAGAIN {
			c.rest()
			return false
		}
		if errno != 0 || n == 0 {
			c.ride.next = hasEnd
			return true
		}
		drained := w.have+n < len(w.in)
		w.have += n
		if !c.answerArrived() {
			return true
		}
		// Fewer bytes than fit were there, so what comes now will wake us.
		if drained {
			c.rest()
			return false
		}
	}
}

// rest gives back the working memory when nothing is in it.
func (c *userConn) rest() {
	if c.work.have == 0 {
		c.giveWork()
	}
}

// answerArrived answers the requests that are complete, and reports whether to read on.
func (c *userConn) answerArrived() bool {
	for c.work.have > 0 {
		c.ride.next = c.parse()
		if c.ride.next == hasMore {
			return true
		}
		if c.ride.next != hasRequest || !c.simple() {
			return false
		}
		if !c.exchange() || !c.enter(phaseIdle, c.relay.watch.soon()+int64(c.relay.cfg.IdleLimit)) {
			c.ride.next = hasEnd
			return false
		}
	}
	return true
}

// simple reports whether the request can be answered without reading from the connection again.
func (c *userConn) simple() bool {
	w := c.work
	r := &w.req
	return r.upgrade == nil && !r.chunked && !r.expect && r.length <= int64(w.have-w.headLen)
}

// awaitSecure waits for a request on a TLS connection.
func (c *userConn) awaitSecure() awaited {
	for {
		if c.work != nil && c.work.have > 0 {
			if next := c.parse(); next != hasMore {
				return next
			}
		}
		if c.work == nil || c.work.have == 0 {
			if c.work != nil {
				c.giveWork()
			}
			n, err := c.conn.Read(c.first[:])
			if err != nil {
				return hasEnd
			}
			w := c.takeWork()
			w.have = copy(w.in, c.first[:n])
			if n < len(c.first) {
				continue
			}
		}
		w := c.work
		if w.have == len(w.in) {
			w.in = append(w.in, make([]byte, len(w.in))...)
		}
		n, err := c.conn.Read(w.in[w.have:])
		if err != nil {
			return hasEnd
		}
		w.have += n
	}
}

// parse looks for a header section in what has arrived.
func (c *userConn) parse() awaited {
	w := c.work
	b := w.in[:w.have]
	n := headEnd(b, w.scanned)
	switch {
	case n < 0 || byteClass[b[0]]&tokenByte == 0:
		return c.refuse(http.StatusBadRequest)
	case n == 0 && len(b) >= maxHeaderBytes || n > maxHeaderBytes:
		return c.refuse(http.StatusRequestHeaderFieldsTooLarge)
	case n == 0:
		if w.scanned == 0 && !c.enter(phaseHead, c.relay.watch.now()+int64(c.relay.cfg.HeaderLimit)) {
			return hasEnd
		}
		w.scanned = len(b)
		return hasMore
	case bytes.Equal(b[:n], preface):
		return hasPreface
	}
	w.headLen = n
	w.scanned = 0
	if status := w.req.parse(b[:n]); status != 0 {
		return c.refuse(status)
	}
	return hasRequest
}

// refuse answers what is no request, and ends the connection: where the next one begins is anybody's
// guess.
func (c *userConn) refuse(status int) awaited {
	c.relay.ends.add(endRefusedRequest)
	w := c.work
	text := http.StatusText(status)
	w.out = appendAnswer(w.out[:0], 1, status, text, c.relay.clock())
	w.out = append(w.out, "Connection: close\r\n\r\n"...)
	w.out = append(w.out, text...)
	if c.enter(phaseSend, c.relay.watch.now()+int64(answerSlack)) {
		_, _ = c.conn.Write(w.out) // who sends such things may be gone
	}
	c.linger = true
	return hasEnd
}

// close ends the connection.
func (c *userConn) close() {
	defer c.relay.closed(c)
	if c.work != nil {
		c.giveWork()
	}
	if c.shard == nil {
		return
	}
	if !c.reset && (c.linger && c.fate() == 0 || c.goodbye) {
		c.lingerOn()
	}
	c.relay.watch.remove(c)
	if c.reset {
		_ = c.tcp.SetLinger(0) // best effort: the close comes all the same
		_ = c.tcp.Close()      // first: TLS would say that this is the end
	}
	_ = c.conn.Close() // nothing more is expected of it
}

// How long, and how much, a user whose request was refused may go on sending. Closing at once would
// have the kernel send a reset, which can overtake the answer.
const (
	lingerLimit = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

func (c *userConn) lingerOn() {
	if c.tcp.CloseWrite() != nil || c.tcp.SetReadDeadline(time.Now().Add(lingerLimit)) != nil {
		return
	}
	buf := c.relay.buffers.Get().(*[]byte)
	defer c.relay.buffers.Put(buf)
	for read := 0; read < lingerBytes; {
		n, err := c.tcp.Read(*buf)
		if err != nil {
			return
		}
		read += n
	}
}
