package router

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	maxHeaderBytes  = 64 << 10 // of a request
	maxHTTP2Streams = 250      // per connection
	maxHTTP2Frame   = 16 << 10 // bytes a user may send as one; the least RFC 9113 section 6.5.2 allows
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
			_ = ln.Close() // what was accepted is not affected
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

// serve answers requests on the listeners until ctx is done or another router has taken them over,
// and then until those in flight have ended or Config.ExitLimit has passed.
func (l listeners) serve(ctx context.Context, successor <-chan struct{}, cfg Config, r *relay, certs *certificates) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	p := r.proxy
	p.redirect = newRedirection(cfg, l.addresses().HTTPS)
	r.standard = newStandard(base, cfg, r)
	watching, unwatch := context.WithCancel(base)
	var background errgroup.Group
	background.Go(func() error { r.watch.run(watching); return nil })
	background.Go(func() error {
		if err := r.standard.server.Serve(r.standard); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP/2: %w", err)
		}
		return nil
	})

	g, accepting := errgroup.WithContext(ctx)
	open, end := context.WithCancel(accepting)
	start := func(ln net.Listener, config *tls.Config) {
		if ln != nil {
			g.Go(func() error { return r.accept(open, ln, config) })
		}
	}
	start(l.http, nil)
	start(l.https, tlsConfig(certs))
	g.Go(func() error {
		select {
		case <-successor:
		case <-accepting.Done():
		}
		end()
		l.close()
		return nil
	})
	err := g.Wait()

	var shutting sync.WaitGroup
	shutting.Go(func() { r.standard.shut(cfg.ExitLimit) })
	r.shut(ctx, cfg.ExitLimit)
	shutting.Wait()
	cut() // requests that had their time
	p.open.Wait()
	unwatch()
	p.transport.CloseIdleConnections()
	p.h2c.CloseIdleConnections()
	r.routes.drain.each(func(t *target) { t.idle.setClosed(true) })
	return errors.Join(err, background.Wait())
}
