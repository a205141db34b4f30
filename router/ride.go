package router

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"apron"
)

// ride is one request and its response on their way through userConn: what exchange is on the
// standard library's path. Times are the watch's.
type ride struct {
	next     awaited
	start    int64
	limit    int64 // by when the request must be over
	chosen   int64 // when the instance was
	upstream int64 // from then to its response header; 0: it did not come
	keep     bool  // the connection can carry another request
	started  bool  // the response's header was handed to the connection
	bodyLeft bool  // not all of the request's body has been read
	breaker  *breaker
	set      *backendSet
	backend  *backend // last one a slot was taken of; nil: none
	held     bool     // its slot is
	tried    []*target
	in       *instanceConn // nil: none at the moment
	got      int           // bytes of the answer in work.answer
	used     int           // bytes of work.in that belong to the request
	standard bool          // the standard library's path has it
	pump     *pump         // sends the rest of the request's body; nil: nothing does
	status   int           // sent, or to be recorded
	bytes    int64         // of the response's body
}

// exchange answers the request in c.work and reports whether the connection can carry another one.
func (c *userConn) exchange() (again bool) {
	w, rl := c.work, c.relay
	now := rl.watch.now()
	c.ride = ride{start: now, limit: now + int64(rl.cfg.RequestLimit), tried: c.ride.tried[:0], used: w.headLen}
	c.requestID = c.requestID[:0]
	x := &c.ride
	x.keep = w.req.keepsAlive() && !rl.closing.Load()
	x.bodyLeft = w.req.hasBody()
	if !c.enter(phaseExchange, x.limit) {
		return false
	}
	err := c.send()
	if err == nil {
		err = c.receive()
	}
	c.joinPump()
	c.dropInstance()
	if err != nil {
		c.fail(err)
	}
	c.release()
	c.record()
	if x.bodyLeft {
		x.keep, c.linger = false, true
	}
	if x.keep {
		w.have = copy(w.in, w.in[x.used:w.have])
		if !c.served.Load() {
			c.served.Store(true)
		}
	}
	return x.keep
}

// errStandard asks for the standard library's path.
var errStandard = errors.New("the route's instances speak HTTP/2")

// send finds an instance and sends it the request. The beginning of its answer may then be in
// work.answer, got bytes of it.
func (c *userConn) send() error {
	x := &c.ride
	if err := c.choose(); err != nil {
		return err
	}
	w := c.work
	if x.bodyLeft && w.have > w.headLen {
		w.req.expect = false // its body came without waiting
	}
	w.out = c.appendRequest(w.out[:0], x.set)
	if err := c.beginBody(); err != nil {
		return err
	}
	for {
		err := c.deliver()
		if err == nil {
			return nil
		}
		refused, ok := errors.AsType[*connectError](err)
		if !ok {
			return err
		}
		if !short(refused) {
			x.backend.connectFailed(time.Now())
		}
		c.release()
		x.tried = append(x.tried, x.backend.target)
		switch again := c.acquire(); {
		case errors.Is(again, errNoInstance):
			return refused
		case again != nil:
			return again
		}
	}
}

// choose finds the route and waits for a slot of one of its instances.
func (c *userConn) choose() error {
	x, w := &c.ride, c.work
	for {
		t := c.relay.routes.current.Load()
		x.breaker = t.find(&w.host, w.req.host)
		if x.breaker == nil {
			return errUnknownHost
		}
		x.set = x.breaker.set.Load()
		if w.req.upgrade != nil {
			if foldEqual(w.req.upgrade, "h2c") {
				w.req.upgrade = nil // what the tunnel would carry are requests that nobody checks
			} else if x.set.options.NoWebSocket {
				return errNoUpgrade
			}
		}
		x.limit = x.start + int64(x.set.requestTimeout)
		if !c.enter(phaseExchange, x.limit) {
			return c.ended()
		}
		if c.relay.proxy.redirect.on && !c.secure {
			return errRedirect
		}
		if x.set.options.Protocol == apron.ProtocolH2C {
			return errStandard
		}
		err := c.acquire()
		// The host may have got another route while the request was between table and breaker.
		if errors.Is(err, errNoInstance) && !errors.Is(err, errStarting) && c.relay.routes.current.Load() != t {
			continue
		}
		return err
	}
}

// acquire takes a slot of an instance not tried before.
func (c *userConn) acquire() error {
	x := &c.ride
	backend := x.breaker.try(x.tried)
	if backend == nil {
		var err error
		if backend, err = c.acquireSlowly(); err != nil {
			return err
		}
	}
	x.backend, x.held, x.set = backend, true, backend.set
	x.chosen = c.relay.watch.now()
	return nil
}

// acquireSlowly waits for a slot as long as the watch lets it.
func (c *userConn) acquireSlowly() (*backend, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	give := func() { cancel() }
	c.giveUp.Store(&give)
	defer c.giveUp.Store(nil)
	if c.fate() != 0 {
		return nil, c.ended()
	}
	x := &c.ride
	b, err := x.breaker.acquire(ctx, slices.Clone(x.tried), x.backend != nil && x.backend.set.starting)
	if err != nil && c.fate() != 0 {
		err = c.ended()
	}
	return b, err
}

// release gives the slot back.
func (c *userConn) release() {
	x := &c.ride
	if !x.held {
		return
	}
	x.held = false
	if x.breaker.release(x.backend.target) {
		c.relay.routes.drain.drained(x.backend.target)
	}
}

// deliver sends the request to the instance, on a kept connection if there is one. What was lost on
// one is sent again where that is safe: nothing was sent, or sending it twice does no harm (RFC 9110
// section 9.2.2) and all of it is at hand.
func (c *userConn) deliver() error {
	x, w := &c.ride, c.work
	for {
		if err := c.connect(); err != nil {
			return err
		}
		var err error
		if x.bodyLeft {
			err = x.in.send(w.out)
		} else {
			x.got, err = x.in.ask(w.out, w.answer)
		}
		switch {
		case err == nil:
			if x.bodyLeft && !w.req.expect {
				c.startPump()
			}
			return nil
		case c.fate() != 0:
			return c.ended()
		case !x.in.used, !errors.Is(err, errStale) && (x.bodyLeft || !idempotent(w.req.method)):
			return err // a new connection would be no better than this one
		}
		c.dropInstance()
	}
}

func idempotent(method []byte) bool {
	switch string(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// connect gets a connection to the instance.
func (c *userConn) connect() (err error) {
	b := c.ride.backend
	in := b.idle.take(b.addr)
	if in == nil {
		if in, err = dial(b.addr); short(err) {
			in, err = c.dialPatiently(err)
		}
		if err != nil {
			return err
		}
	}
	c.ride.in = in
	c.instance.Store(in)
	if c.fate() != 0 {
		return c.ended()
	}
	return nil
}

// dialPatiently connects when there is room for a connection, for which there was none.
func (c *userConn) dialPatiently(err error) (in *instanceConn, _ error) {
	x, r := &c.ride, c.relay
	for until := r.watch.now() + int64(x.set.wait); short(err) && r.watch.now() < until; {
		r.routes.drain.each(func(t *target) { t.idle.expire(1 << 62) })
		r.makeRoom()
		r.room.await(context.Background(), false)
		if c.fate() != 0 {
			return nil, c.ended()
		}
		in, err = dial(x.backend.addr)
	}
	return in, err
}

// dropInstance closes the connection to the instance, if it still is in use.
func (c *userConn) dropInstance() {
	if in := c.ride.in; in != nil {
		c.ride.in = nil
		c.instance.Store(nil)
		c.fate() // the watch may be about to poke it
		_ = in.tcp.Close()
	}
}

// keepInstance puts the connection to the instance aside for the next request, and gives the slot
// back: the instance is done with this one.
func (c *userConn) keepInstance() {
	x := &c.ride
	in := x.in
	x.in = nil
	c.instance.Store(nil)
	now := c.relay.watch.soon()
	if !c.enter(phaseSend, min(x.limit, now+int64(c.relay.cfg.StallLimit))) {
		_ = in.tcp.Close() // it was poked
	} else {
		x.backend.idle.put(in, now)
	}
	c.release()
}
