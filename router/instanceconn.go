package router

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// errStale is a kept connection on which nothing was sent: the instance has closed it, or has sent
// what nobody asked for.
var errStale = errors.New("the instance's connection is not usable any more")

// instanceConn is a connection to an instance. One exchange at a time has it.
type instanceConn struct {
	tcp   *net.TCPConn
	raw   syscall.RawConn
	addr  string
	used  bool  // it has carried an exchange, and was kept
	since int64 // when it was put aside; see watch.now

	// What the function below works on: one call of send or of read.
	step    func(fd uintptr) bool
	out, in []byte
	wait    bool // for an answer
	asking  bool // out has not been sent
	n       int
	err     error
	look    [1]byte
}

func newInstanceConn(tcp *net.TCPConn, addr string) (*instanceConn, error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	c := &instanceConn{tcp: tcp, raw: raw, addr: addr}
	c.step = c.ready
	return c, nil
}

// dial connects to an instance.
func dial(addr string) (*instanceConn, error) {
	d := net.Dialer{Timeout: connectLimit}
	conn, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, &connectError{err}
	}
	return newInstanceConn(conn.(*net.TCPConn), addr)
}

// send sends out. On a kept connection it looks for unasked bytes first: errStale means that nothing
// was sent.
func (c *instanceConn) send(out []byte) error {
	_, err := c.do(out, nil, false)
	return err
}

// ask sends out as send does, and returns what the instance answers first. The look for unasked
// bytes costs nothing then: the runtime needs one before it can wait.
func (c *instanceConn) ask(out, in []byte) (int, error) { return c.do(out, in, true) }

// read reads what has come.
func (c *instanceConn) read(in []byte) (int, error) { return c.do(nil, in, true) }

func (c *instanceConn) do(out, in []byte, wait bool) (int, error) {
	c.out, c.in, c.wait, c.n, c.err = out, in, wait, 0, nil
	c.asking = len(out) > 0
	if c.in == nil {
		c.in = c.look[:]
	}
	err := c.raw.Read(c.step)
	if err == nil && c.err == nil && len(c.out) > 0 { // the instance takes its time to receive
		if _, err = c.tcp.Write(c.out); err == nil && wait {
			c.asking = false
			err = c.raw.Read(c.step)
		}
	}
	c.out, c.in = nil, nil
	if err == nil {
		err = c.err
	}
	return c.n, err
}

// ready is called when there may be something to read, and before.
func (c *instanceConn) ready(fd uintptr) (done bool) {
	n, errno := readFD(fd, c.in)
	if errno == syscall.EAGAIN {
		if !c.asking {
			return false
		}
		n, errno = writeFD(fd, c.out)
		if errno != 0 && errno != syscall.EAGAIN {
			c.err = errno
			return true
		}
		if c.out = c.out[n:]; len(c.out) > 0 {
			return true
		}
		c.asking = false
		return !c.wait
	}
	switch {
	case c.asking:
		c.err = errStale
	case errno != 0:
		c.err = errno
	case n == 0:
		c.err = io.EOF
	default:
		c.n = n
	}
	return true
}

// idleConns are the kept connections of one instance, the last used on top.
type idleConns struct {
	mu     sync.Mutex // guards the fields below
	conns  []*instanceConn
	closed bool // the instance has left
}

// take returns a kept connection to addr, or nil.
func (p *idleConns) take(addr string) *instanceConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.conns) - 1
	if last < 0 || p.conns[last].addr != addr {
		return nil
	}
	c := p.conns[last]
	p.conns[last] = nil
	p.conns = p.conns[:last]
	return c
}

// put keeps a connection whose last exchange is complete.
func (p *idleConns) put(c *instanceConn, now int64) {
	c.used, c.since = true, now
	p.mu.Lock()
	keep := !p.closed && len(p.conns) < idlePerInstance
	if keep {
		p.conns = append(p.conns, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.tcp.Close()
	}
}

// expire closes the connections that were put aside before since.
func (p *idleConns) expire(since int64) {
	p.mu.Lock()
	n := 0
	for n < len(p.conns) && p.conns[n].since < since {
		n++
	}
	var old []*instanceConn
	if n > 0 {
		old = append(old, p.conns[:n]...)
		p.conns = append(p.conns[:0], p.conns[n:]...)
		clear(p.conns[len(p.conns) : len(p.conns)+n])
	}
	p.mu.Unlock()
	for _, c := range old {
		_ = c.tcp.Close()
	}
}

// setClosed closes what is kept and keeps nothing any more, or begins to again.
func (p *idleConns) setClosed(closed bool) {
	p.mu.Lock()
	p.closed = closed
	old := p.conns
	if closed {
		p.conns = nil
	} else {
		old = nil
	}
	p.mu.Unlock()
	for _, c := range old {
		_ = c.tcp.Close()
	}
}
