package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"apron"
)

// ErrReplaced is what Client.Run returns when another control plane took the router over.
var ErrReplaced = errors.New("another control plane took over the router")

// ClientConfig is what a Client needs.
type ClientConfig struct {
	// Socket is the router's unix socket, see SocketPath.
	Socket string
	// Log receives a line when the stream comes up and when it is lost.
	Log *slog.Logger
	// OnLoad is called with each load report, and OnAccess with each batch of access records and the
	// number of records the router had to drop before it. Either may be nil. Calls come one at a
	// time, and must return soon: acknowledgements wait behind them. While they do not, the router
	// drops records, never requests. The arguments are the callee's to keep.
	OnLoad   func(Load)
	OnAccess func(records []Access, dropped uint64)
}

// Client is the control plane's end of the stream to a router. Its methods are safe for concurrent
// use; those that take a context work only while Run does, and wait for the stream when there is
// none at the moment.
type Client struct {
	cfg ClientConfig

	mu        sync.Mutex       // guards the fields below
	changed   chan struct{}    // closed, and replaced, when any of them changed
	addresses *Addresses       // of the router; nil: not reached yet
	found     apron.RouteTable // what the router had when it was last reached
	version   uint64           // highest number of a table this client or the router has given
	table     desired[apron.RouteTable]
	certs     desired[[]Certificate]
	watched   map[apron.InstanceID]*drainWatch // not known to have drained, and somebody waits
}

// desired is something the router is to have. It outlives streams.
type desired[T any] struct {
	value T
	wish  uint64 // counts the values; 0: none yet
	done  uint64 // last wish the router has answered
	err   error  // of that answer; nil: it is in effect
}

type drainWatch struct {
	waiting int           // calls of Drained
	stream  uint64        // that the router was asked on; see stream.number
	drained chan struct{} // closed when it has
}

// NewClient returns a Client that connects once Run is called.
func NewClient(cfg ClientConfig) *Client {
	return &Client{cfg: cfg, changed: make(chan struct{}), watched: map[apron.InstanceID]*drainWatch{}}
}

// Addresses returns where the router's public listeners are bound, waiting until it has been
// reached for the first time. It returns ctx's error if that comes first.
func (c *Client) Addresses(ctx context.Context) (Addresses, error) {
	var a Addresses
	err := c.await(ctx, func() bool {
		if c.addresses == nil {
			return false
		}
		a = *c.addresses
		return true
	})
	if err != nil {
		return Addresses{}, fmt.Errorf("wait for the router: %w", err)
	}
	return a, nil
}

// Table returns the table the router has, waiting until it has been reached for the first time:
// the last one published here that is in effect, else the one found there, which another control
// plane made. It returns ctx's error if that comes first.
func (c *Client) Table(ctx context.Context) (apron.RouteTable, error) {
	var t apron.RouteTable
	err := c.await(ctx, func() bool {
		t = c.found
		if d := c.table; d.wish > 0 && d.done == d.wish && d.err == nil {
			t = d.value
		}
		return c.addresses != nil
	})
	if err != nil {
		return apron.RouteTable{}, fmt.Errorf("wait for the router: %w", err)
	}
	return t, nil
}

// Publish makes table the router's table and returns when it is in effect: from then on no new
// request goes to an instance that is not in it. table.Version is ignored: the client numbers
// tables, above every number the router has seen. Of tables published while one is on its way only
// the newest is sent; the calls for the others return when it is in effect. An invalid table is
// refused with an error and changes nothing. When ctx ends first its error is returned, and the
// table is still sent when there is a stream again, unless a newer one was published. The caller
// must not change the table's slices afterwards.
func (c *Client) Publish(ctx context.Context, table apron.RouteTable) error {
	if err := checkTable(table); err != nil {
		return err
	}
	if err := wish(ctx, c, &c.table, table); err != nil {
		return fmt.Errorf("publish route table: %w", err)
	}
	return nil
}

// SetCertificates replaces the router's certificates and returns when they are in effect, or with
// an error when one cannot be used; then none is replaced. The first is used for clients that name
// no server. A router that cannot be reached is waited for as by Publish.
func (c *Client) SetCertificates(ctx context.Context, certs []Certificate) error {
	if err := newCertificates().install(certs); err != nil {
		return fmt.Errorf("set certificates: %w", err)
	}
	if err := wish(ctx, c, &c.certs, slices.Clone(certs)); err != nil {
		return fmt.Errorf("set certificates: %w", err)
	}
	return nil
}

// wish makes value the desired one and waits for the router's answer.
func wish[T any](ctx context.Context, c *Client, d *desired[T], value T) error {
	c.mu.Lock()
	d.wish++
	d.value = value
	mine := d.wish
	c.tell()
	c.mu.Unlock()
	var answer error
	err := c.await(ctx, func() bool {
		answer = d.err
		return d.done >= mine
	})
	return errors.Join(err, answerIf(err == nil, answer))
}

func answerIf(ok bool, answer error) error {
	if ok {
		return answer
	}
	return nil
}

// Drained returns when none of the instances has a request in flight and none will get one: each
// has left the table in effect and its last request has ended. Instances the router does not know
// count as drained; for one that is still in the table it waits until a table without it is
// published. It returns ctx's error if that comes first.
func (c *Client) Drained(ctx context.Context, ids []apron.InstanceID) error {
	c.mu.Lock()
	watches := map[apron.InstanceID]*drainWatch{}
	for _, id := range ids {
		if watches[id] != nil {
			continue
		}
		w := c.watched[id]
		if w == nil {
			w = &drainWatch{drained: make(chan struct{})}
			c.watched[id] = w
		}
		w.waiting++
		watches[id] = w
	}
	c.tell()
	c.mu.Unlock()
	defer c.unwatch(watches)
	for _, id := range slices.Sorted(maps.Keys(watches)) {
		select {
		case <-watches[id].drained:
		case <-ctx.Done():
			return fmt.Errorf("drain instance %s: %w", id, context.Cause(ctx))
		}
	}
	return nil
}

func (c *Client) unwatch(watches map[apron.InstanceID]*drainWatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, w := range watches {
		w.waiting--
		if w.waiting == 0 && c.watched[id] == w {
			delete(c.watched, id)
		}
	}
}

// tell lets everyone who awaits look again. The caller holds mu.
func (c *Client) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await returns when done does, which is called with mu held after each change, or with ctx's error.
func (c *Client) await(ctx context.Context, done func() bool) error {
	for {
		c.mu.Lock()
		ok, changed := done(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
