package operation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"apron"
	"apron/store"
)

// Config is what a Runner needs. Members without a default are required.
type Config struct {
	Store *store.Store
	Plans map[apron.OperationType]Plan
	// Name is the runner's identity in leases. It stays the same across restarts and no two live
	// runners share it: a runner that starts takes back at once what its name still holds.
	Name string
	Log  *slog.Logger

	Parallel     int           // operations at a time; default 16
	LeaseTTL     time.Duration // a dead runner's operations are taken over after it; default 30 s
	Attempts     int           // tries of a step before it has failed for good; default 5
	UndoAttempts int           // tries of an undo step before it is given up; default 8
	UndoTimeout  time.Duration // one try of an undo step without Timeout; default 2 min
	Backoff      time.Duration // pause after the first failed try, doubled after each; default 250 ms
	MaxBackoff   time.Duration // longest pause; default 30 s

	Now func() time.Time // default time.Now; must agree with the store's
	// Jitter spreads a pause so that what failed together is not tried together. It returns a time
	// up to d; the default is between half of d and d.
	Jitter func(d time.Duration) time.Duration
	// AfterStep, if set, is called after every checkpoint has become durable, undo steps included.
	AfterStep func(op apron.Operation, step string)
	// Ended, if set, is called after the end of an operation has become durable. It must not block.
	Ended func(op apron.Operation)
}

func (c *Config) setDefaults() {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.LeaseTTL, 30*time.Second)
	set(&c.UndoTimeout, 2*time.Minute)
	set(&c.Backoff, 250*time.Millisecond)
	set(&c.MaxBackoff, 30*time.Second)
	if c.Parallel == 0 {
		c.Parallel = 16
	}
	if c.Attempts == 0 {
		c.Attempts = 5
	}
	if c.UndoAttempts == 0 {
		c.UndoAttempts = 8
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Jitter == nil {
		//nolint:gosec // spreads out tries, nothing secret about it
		c.Jitter = func(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
	}
	if c.AfterStep == nil {
		c.AfterStep = func(apron.Operation, string) {}
	}
	if c.Ended == nil {
		c.Ended = func(apron.Operation) {}
	}
}

// Runner runs operations. Its methods are safe for concurrent use; Run is called once.
type Runner struct {
	cfg   Config
	wake  chan struct{} // holds one token: somebody should look for work
	slots chan struct{} // holds a token for each operation being run

	mu      sync.Mutex                       // guards running
	running map[apron.OperationID]*occupancy // operations being run here
}

// New returns a runner that does nothing until Run.
func New(cfg Config) *Runner {
	cfg.setDefaults()
	return &Runner{
		cfg: cfg, wake: make(chan struct{}, 1), slots: make(chan struct{}, cfg.Parallel),
		running: make(map[apron.OperationID]*occupancy),
	}
}

// Wake has the runner look for work soon. It never blocks, and may be called before Run.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // somebody has said so already
	}
}

// Run runs operations until ctx is done and every step has returned, and then returns nil: what was
// under way stays as it is and is resumed by the next Run. Steps see the end of ctx as theirs. Run
// returns an error only if the store cannot be used at the start.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.cfg.Store.ReleaseLeases(ctx, r.cfg.Name); err != nil {
		return fmt.Errorf("take back operations: %w", err)
	}
	var children sync.WaitGroup
	defer children.Wait()
	children.Go(func() { r.listen(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		err := r.cancelAsked(ctx)
		wait := time.Duration(0)
		if err == nil {
			wait, err = r.claimAll(ctx, &children)
		}
		failures++
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			wait = r.backoff(failures)
			r.cfg.Log.Error("look for operations", "err", err, "retry_in", wait)
		default:
			failures = 0
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
	}
}

// idle is how long a runner waits when it knows of nothing that will become runnable.
const idle = time.Hour

// claimAll starts every operation that can be run now, as far as there are slots, and returns how
// long to wait for the next. A slot that becomes free wakes the runner.
func (r *Runner) claimAll(ctx context.Context, children *sync.WaitGroup) (time.Duration, error) {
	for {
		select {
		case r.slots <- struct{}{}:
		default:
			return idle, nil
		}
		lease, err := r.cfg.Store.Claim(ctx, r.cfg.Name, r.cfg.LeaseTTL)
		if err != nil {
			<-r.slots
			if errors.Is(err, store.ErrNone) {
				return r.untilNext(ctx)
			}
			return 0, err
		}
		children.Go(func() {
			defer func() { <-r.slots; r.Wake() }()
			r.work(ctx, lease)
		})
	}
}

func (r *Runner) untilNext(ctx context.Context) (time.Duration, error) {
	at, ok, err := r.cfg.Store.NextRunnable(ctx)
	if err != nil || !ok {
		return idle, err
	}
	// Not less than a little: what became runnable just now may be held by a transaction elsewhere.
	return max(at.Sub(r.cfg.Now()), 5*time.Millisecond), nil
}

// listen wakes the runner for what other processes queue.
func (r *Runner) listen(ctx context.Context) {
	for failures := 1; ; failures++ {
		err := r.cfg.Store.Wakes(ctx, func() { failures = 0; r.Wake() })
		if ctx.Err() != nil {
			return
		}
		pause := r.backoff(failures + 1)
		r.cfg.Log.Warn("lost notifications of the store", "err", err, "retry_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// backoff returns how long to wait after the given number of failures in a row.
func (r *Runner) backoff(failures int) time.Duration {
	d := r.cfg.Backoff
	for range failures - 1 {
		if d *= 2; d >= r.cfg.MaxBackoff {
			d = r.cfg.MaxBackoff
			break
		}
	}
	return r.cfg.Jitter(min(d, r.cfg.MaxBackoff))
}
