package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	headerLimit     = 10 * time.Second // for a client to send a request's header
	idleClient      = 2 * time.Minute  // between the requests of a client's connection
	maxHeaderBytes  = 64 << 10         // of a request
	maxHTTP2Streams = 250              // per connection
	// bodySlack and answerSlack let the router's own limit end a request first, with an answer. They
	// unblock a read from, and a write to, a client that has stopped.
	bodySlack   = time.Second
	answerSlack = 5 * time.Second
)

// listeners are the public ones.
type listeners struct {
	http, https net.Listener // nil: none
}

func listen(ctx context.Context, cfg Config) (listeners, error) {
	var l listeners
	var lc net.ListenConfig
	for _, x := range []struct {
		addr string
		to   *net.Listener
	}{{cfg.HTTP, &l.http}, {cfg.HTTPS, &l.https}} {
		if x.addr == "" {
			continue
		}
		ln, err := lc.Listen(ctx, "tcp", x.addr)
		if err != nil {
			l.close()
			return listeners{}, fmt.Errorf("listen on %s: %w", x.addr, err)
		}
		*x.to = ln
	}
	return l, nil
}

func (l listeners) close() {
	for _, ln := range []net.Listener{l.http, l.https} {
		if ln != nil {
			_ = ln.Close() // nothing was accepted; there is nothing to lose
		}
	}
}

func (l listeners) addresses() Addresses {
	var a Addresses
	if l.http != nil {
		a.HTTP = l.http.Addr().String()
	}
	if l.https != nil {
		a.HTTPS = l.https.Addr().String()
	}
	return a
}

// newServer returns the server of one listener; both are alike but for TLS.
func newServer(base context.Context, cfg Config, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:                      handler,
		DisableGeneralOptionsHandler: true, // OPTIONS * is the application's to answer
		ReadHeaderTimeout:            headerLimit,
		ReadTimeout:                  cfg.RequestLimit + bodySlack,
		WriteTimeout:                 cfg.RequestLimit + answerSlack,
		IdleTimeout:                  idleClient,
		MaxHeaderBytes:               maxHeaderBytes,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxHTTP2Streams},
		BaseContext:                  func(net.Listener) context.Context { return base },
		ErrorLog:                     slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
}

// serve answers requests on the listeners until ctx is done, and then until those in flight have
// ended or Config.ExitLimit has passed.
func (l listeners) serve(ctx context.Context, cfg Config, p *proxy, certs *certificates) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	g, ctx := errgroup.WithContext(ctx)
	start := func(ln net.Listener, serve func(*http.Server) error) {
		if ln == nil {
			return
		}
		srv := newServer(base, cfg, p)
		done := make(chan struct{})
		g.Go(func() error {
			defer close(done)
			if err := serve(srv); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", ln.Addr(), err)
			}
			return nil
		})
		g.Go(func() error {
			<-ctx.Done()
			shut(ctx, srv, cfg.ExitLimit)
			<-done
			return nil
		})
	}
	start(l.http, func(s *http.Server) error { return s.Serve(l.http) })
	start(l.https, func(s *http.Server) error {
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.pick}
		return s.ServeTLS(l.https, "", "")
	})
	g.Go(func() error { <-ctx.Done(); return nil }) // also without a listener
	err := g.Wait()
	cut() // tunnels, and requests that had their time
	p.open.Wait()
	p.transport.CloseIdleConnections()
	return err
}

// shut lets the requests of a server end, and closes their connections after limit.
func shut(ctx context.Context, srv *http.Server, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if srv.Shutdown(ctx) != nil {
		_ = srv.Close() // its errors are those of connections being closed
	}
}
