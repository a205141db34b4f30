package router

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"apron"
)

// elder is the router that this one took over from, as long as it answers what it has begun. It
// follows this router as this one follows the control plane, over the connection it was asked for
// its listeners on: tables go to it, and what it has in flight counts here, so that no instance is
// full, or has drained, that has not in both. A nil elder is one that is gone.
type elder struct {
	control *control
	client  *Client
	met     chan struct{} // closed when its figures have come once, or it is gone
	gone    chan struct{} // closed when it has ended
	meet    func()

	// The fields below belong to OnLoad, and then to follow.
	flights map[apron.InstanceID]InstanceLoad // as it has last reported
	queues  map[breakerKey]RouteLoad
	ended   map[string]uint64
}

func newElder(c *control) *elder {
	e := &elder{
		control: c, met: make(chan struct{}), gone: make(chan struct{}),
		flights: map[apron.InstanceID]InstanceLoad{}, queues: map[breakerKey]RouteLoad{}, ended: map[string]uint64{},
	}
	e.meet = sync.OnceFunc(func() { close(e.met) })
	e.client = NewClient(ClientConfig{
		Log: c.log.With("part", "elder"), OnLoad: e.adopt,
		OnAccess: func(records []Access, dropped uint64) { c.access.adopt(records, dropped) },
	})
	return e
}

// follow keeps the account of the elder at the other end of conn until it has ended or ctx is done.
// An elder of a release without this ends the connection at once.
func (e *elder) follow(ctx context.Context, conn net.Conn) {
	defer close(e.gone)
	defer e.forget()
	err := e.client.use(ctx, conn, 1)
	e.control.log.Info("the router before this one is gone", "err", err)
}

// elderLimit is how long an elder may take to put a table in effect, and to tell its figures.
const elderLimit = 10 * time.Second

// publish returns when the elder sends nothing to instances that are not in the table, and what it
// has in flight there counts here.
func (e *elder) publish(table apron.RouteTable) {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), elderLimit)
	defer cancel()
	published := make(chan struct{})
	go func() {
		defer close(published)
		if err := e.client.Publish(ctx, table); err != nil && !errors.Is(err, context.Canceled) {
			e.control.log.Warn("the router before this one goes on with its routes", "err", err)
		}
	}()
	select {
	case <-published:
	case <-e.gone:
		cancel()
		<-published
	}
}

// await returns when the figures of the elder are known, or ctx is done.
func (e *elder) await(ctx context.Context) {
	if e == nil {
		return
	}
	limit := time.NewTimer(elderLimit)
	defer limit.Stop()
	select {
	case <-e.met:
	case <-limit.C:
	case <-ctx.Done():
	}
}

// outlive returns when the elder has ended, or ctx is done.
func (e *elder) outlive(ctx context.Context) {
	if e == nil {
		return
	}
	select {
	case <-e.gone:
	case <-ctx.Done():
	}
}

// adopt makes the elder's figures part of this router's.
func (e *elder) adopt(l Load) {
	for _, now := range l.Instances {
		last := e.flights[now.Instance]
		e.flights[now.Instance] = now
		e.control.routes.lend(now.Instance, int64(now.InFlight-last.InFlight), grown(last.Total, now.Total))
	}
	for _, now := range l.Routes {
		key := breakerKey{now.Service, now.Nth}
		last := e.queues[key]
		e.queues[key] = now
		if b := e.control.routes.current.Load().breakers[key]; b != nil {
			b.adopt(last, now)
		}
	}
	for i := range e.control.ends.counts {
		reason := end(i).reason()
		if now, ok := l.Ended[reason]; ok {
			e.control.ends.counts[i].Add(now - e.ended[reason])
			e.ended[reason] = now
		}
	}
	e.control.signal.raise()
	e.meet()
}

// forget takes back what an elder that has ended, or died, has in flight. What it has counted stays.
func (e *elder) forget() {
	var none Load
	for _, l := range e.flights {
		l.InFlight = 0
		none.Instances = append(none.Instances, l)
	}
	for _, l := range e.queues {
		l.Queued = 0
		none.Routes = append(none.Routes, l)
	}
	e.adopt(none)
}

// adopt takes in what changed in another router's figures for the route.
func (b *breaker) adopt(last, now RouteLoad) {
	b.lent.Store(int64(now.Queued))
	b.refused.Add(grown(last.Refused, now.Refused))
	b.took.Add(int64(grown(uint64(last.Took), uint64(now.Took))))
	for i := range b.statuses {
		b.statuses[i].Add(grown(last.Answered[i], now.Answered[i]))
	}
}

// grown returns what a count has gained. One that is lower than it was has begun anew.
func grown(last, now uint64) uint64 {
	if now < last {
		return now
	}
	return now - last
}

// lend counts requests that another router has in flight to the instance, or has no more, and how
// many it has sent there since it said so last.
func (r *routes) lend(id apron.InstanceID, inFlight int64, sent uint64) {
	if r.drain.lend(id, inFlight, sent) {
		for _, b := range r.current.Load().breakers {
			b.dispatch()
		}
	}
}

// lend reports whether slots have become free.
func (d *drain) lend(id apron.InstanceID, inFlight int64, sent uint64) bool {
	d.mu.Lock()
	t := d.targets[id]
	if t == nil {
		if inFlight <= 0 {
			d.mu.Unlock()
			return false
		}
		// It left the table before this router came.
		t = &target{id: id}
		t.state.Store(leaving)
		t.idle.setClosed(true)
		d.targets[id] = t
	}
	t.total.Add(sent)
	last := t.state.Add(inFlight) == leaving
	d.mu.Unlock()
	if last {
		d.drained(t)
	}
	return inFlight < 0
}
