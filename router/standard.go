package router

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// standard is the standard library's HTTP server, for connections that speak HTTP/2. It takes them
// from the relay, which has accepted them.
type standard struct {
	server *http.Server
	conns  chan net.Conn
	closed chan struct{} // closed when it takes no more
	close  func()
	proxy  *proxy
	left   func(remote net.Addr)
	addr   net.Addr
}

func newStandard(base context.Context, cfg Config, r *relay) *standard {
	s := &standard{conns: make(chan net.Conn), closed: make(chan struct{}), proxy: r.proxy, left: r.left}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	s.server = &http.Server{
		Handler:                      r.proxy,
		DisableGeneralOptionsHandler: true, // OPTIONS * is the application's to answer
		ReadHeaderTimeout:            cfg.HeaderLimit,
		IdleTimeout:                  cfg.IdleLimit,
		MaxHeaderBytes:               maxHeaderBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxHTTP2Streams, MaxReadFrameSize: maxHTTP2Frame,
			WriteByteTimeout: cfg.StallLimit, // of a connection that takes nothing; of a stream see stopwatch
		},
		Protocols:   new(http.Protocols),
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				r.left(c.RemoteAddr())
			}
		},
	}
	s.server.Protocols.SetHTTP1(true)
	s.server.Protocols.SetHTTP2(true)
	s.server.Protocols.SetUnencryptedHTTP2(true)
	if cfg.standardOnly {
		s.server.ReadTimeout, s.server.WriteTimeout = cfg.RequestLimit+bodySlack, cfg.RequestLimit+answerSlack
	}
	return s
}

// give has the server serve c, or closes it when the server has ended.
func (s *standard) give(c net.Conn) {
	select {
	case s.conns <- c:
	case <-s.closed:
		_ = c.Close() // it has nothing in flight
		s.left(c.RemoteAddr())
	}
}

// Accept implements net.Listener.
func (s *standard) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *standard) Close() error {
	s.close()
	return nil
}

// Addr implements net.Listener. Nothing listens.
func (s *standard) Addr() net.Addr { return s.addr }

// idle reports whether no request is being answered.
func (s *standard) idle() bool { return s.proxy.busy.Load() == 0 }

// shut lets the requests of the server end, and closes its connections after limit.
func (s *standard) shut(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close() // its errors are those of connections being closed
	}
}

// readConn is a connection of which something has been read already.
type readConn struct {
	net.Conn
	read []byte
}

// Read returns what was read before, then the rest.
func (c *readConn) Read(p []byte) (int, error) {
	if len(c.read) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.read)
	c.read = c.read[n:]
	return n, nil
}
