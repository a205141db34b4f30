package router

import (
	"errors"
	"log/slog"
	"path/filepath"
	"time"
)

// Config is what a router process needs. Zero durations and counts stand for the defaults named.
type Config struct {
	// Dir is the data directory. The router keeps its state in Dir/router and makes its socket and
	// router.json in Dir/run; both are made when absent, mode 0700.
	Dir string
	// HTTP and HTTPS are the addresses of the public listeners, host:port; port 0 picks a free
	// port, empty means no such listener.
	HTTP, HTTPS string
	// Socket is the unix socket the control plane connects to; empty: Dir/run/router.sock.
	Socket string
	// Redirect has requests on the plain listener answered 301 to the TLS one, as App Runner does, if
	// there is one.
	Redirect bool
	// Explain adds a field X-Apron-Reason to answers of the router's own. It is for development: it
	// tells users about the inside.
	Explain bool
	// TakeOver has the router take the listeners over from one that runs with the same data directory,
	// which then ends; HTTP and HTTPS have no effect. Without one it starts as ever.
	TakeOver bool
	// Hold is called when this process becomes the router and returns what to call when it is not any
	// more, because it ends or another one takes over; nil: nothing. An error keeps it from starting.
	Hold func() (release func(), err error)
	// Ready is called once the listeners and the socket are bound; nil: nobody is told.
	Ready func()
	// Log receives one line per state change and everything that needs attention.
	Log *slog.Logger

	// RequestLimit is how long a request may take in all, its body and the response's included;
	// default 120 s, App Runner's limit. Upgraded connections are exempt.
	RequestLimit time.Duration
	// QueueLimit is how long a request waits for an instance with a free slot; default 5 s.
	QueueLimit time.Duration
	// QueueDepth is how many requests may wait per route; default 1000.
	QueueDepth int
	// HeaderLimit is how long a user may take to send a request's header section once it has begun,
	// and before that from the beginning of the connection; default 10 s.
	HeaderLimit time.Duration
	// IdleLimit is how long a user's connection may be idle between requests; default 2 m.
	IdleLimit time.Duration
	// StallLimit is how long a user may take to send the next part of a body, or to receive the next
	// part of a response; default 30 s.
	StallLimit time.Duration
	// StreamLimit is how long an instance may take from one part of a response to the next; default
	// 5 m, Envoy's.
	StreamLimit time.Duration
	// TunnelLimit is how long an upgraded connection may carry nothing; default 1 h.
	TunnelLimit time.Duration
	// ClientConns is how many connections one user's address, or one IPv6 network of 64 bits, may have
	// open; default 10,000. Loopback addresses have no limit: they are proxies on this machine.
	ClientConns int
	// ExitLimit is how long requests in flight may go on once Run's context is done or another router
	// has taken over; default 30 s.
	ExitLimit time.Duration

	// standardOnly has the standard library's server answer HTTP/1 as well: the judge of the relay in
	// its tests.
	standardOnly bool
}

// SocketPath returns where the router with data directory dir listens for its control plane.
func SocketPath(dir string) string { return filepath.Join(dir, "run", "router.sock") }

// AddressFile returns where the router with data directory dir writes, as JSON, where it listens.
func AddressFile(dir string) string { return filepath.Join(dir, "run", "router.json") }

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("router configuration: no data directory")
	}
	if c.Log == nil {
		return c, errors.New("router configuration: no log")
	}
	if c.Socket == "" {
		c.Socket = SocketPath(c.Dir)
	}
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	orDuration(&c.RequestLimit, 120*time.Second)
	orDuration(&c.QueueLimit, 5*time.Second)
	orDuration(&c.HeaderLimit, 10*time.Second)
	orDuration(&c.IdleLimit, 2*time.Minute)
	orDuration(&c.StallLimit, 30*time.Second)
	orDuration(&c.StreamLimit, 5*time.Minute)
	orDuration(&c.TunnelLimit, time.Hour)
	orDuration(&c.ExitLimit, 30*time.Second)
	if c.QueueDepth <= 0 {
		c.QueueDepth = 1000
	}
	if c.ClientConns <= 0 {
		c.ClientConns = 10_000
	}
	return c, nil
}
