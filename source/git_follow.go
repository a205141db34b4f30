package source

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
)

// BranchFollowerConfig is what a BranchFollower needs. Every member is required unless it says
// otherwise.
type BranchFollowerConfig struct {
	Git *Git
	// Followed returns the branches that are followed now.
	Followed func(ctx context.Context) ([]apron.FollowedBranch, error)
	// Credential returns what opens the repositories of a connection.
	Credential func(ctx context.Context, connectionARN string) (GitCredential, error)
	// Noticed is told of the version that was found at the head of the branch a service follows. An error
	// is logged, and the version told again after the next look.
	Noticed func(ctx context.Context, service apron.ServiceID, version string) error
	// Interval is how often a branch is looked at; 0: at the start only, and when somebody knocks.
	Interval time.Duration
	Log      *slog.Logger
	// Jitter spreads out looks that begin together. It returns a time up to d; nil: any.
	Jitter func(d time.Duration) time.Duration
}

// BranchFollower tells services of new commits on the branches they follow, if they change something
// below their source directory: within the interval, or at once when a webhook knocks. Several services
// that follow one branch cost one look. It is safe for concurrent use.
type BranchFollower struct {
	cfg  BranchFollowerConfig
	wake chan struct{} // holds one element when somebody has knocked

	mu      sync.Mutex               // guards knocked
	knocked map[apron.ServiceID]bool // services whose branches are to be looked at now
}

// NewBranchFollower returns a BranchFollower that does nothing until Run.
func NewBranchFollower(cfg BranchFollowerConfig) *BranchFollower {
	if cfg.Jitter == nil {
		//nolint:gosec // spreads out requests, nothing secret about it
		cfg.Jitter = func(d time.Duration) time.Duration { return rand.N(d + 1) }
	}
	return &BranchFollower{cfg: cfg, wake: make(chan struct{}, 1), knocked: map[apron.ServiceID]bool{}}
}

// Knock has Run look at the branch a service follows now. It never blocks.
func (f *BranchFollower) Knock(id apron.ServiceID) {
	f.mu.Lock()
	f.knocked[id] = true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // Run will look anyway
	}
}

// branch is a branch that is looked at, and who follows it.
type branch struct {
	at       apron.FollowedBranch // of one of them: repository, branch and connection
	services []apron.FollowedBranch

	known    string // commit of the last look of which everybody was told; empty: none
	due      time.Time
	failures int // looks in a row that failed
}

// Run looks at every branch now, and again after each interval, until ctx is done, and returns its
// error.
func (f *BranchFollower) Run(ctx context.Context) error {
	branches := map[string]*branch{}
	for start := true; ; {
		if err := f.refresh(ctx, branches, start); err == nil {
			start = false
		} else if ctx.Err() == nil {
			f.cfg.Log.Error("find out which branches are followed", "err", err)
		}
		f.lookAtDue(ctx, branches)
		timer := time.NewTimer(f.untilNext(branches))
		select {
		case <-timer.C:
		case <-f.wake:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// refresh brings branches up to date with what is followed. At the start all of them are due, and
// later those that somebody knocked for.
func (f *BranchFollower) refresh(ctx context.Context, branches map[string]*branch, start bool) error {
	followed, err := f.cfg.Followed(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	knocked := f.knocked
	f.knocked = map[apron.ServiceID]bool{}
	f.mu.Unlock()
	for _, b := range branches {
		b.services = nil
	}
	for _, at := range followed {
		key := fmt.Sprintf("%q", []string{at.Scope.Account, at.URL, at.Branch, at.ConnectionARN})
		b := branches[key]
		if b == nil {
			b = &branch{at: at, due: time.Now()}
			if !start {
				b.due = b.due.Add(f.cfg.Jitter(max(f.cfg.Interval, time.Second)))
			}
			branches[key] = b
		}
		if knocked[at.Service] {
			b.due = time.Time{}
		}
		b.services = append(b.services, at)
	}
	for key, b := range branches {
		if len(b.services) == 0 {
			delete(branches, key)
		}
	}
	return nil
}

// lookAtDue looks at the branches that are due, a few at a time.
func (f *BranchFollower) lookAtDue(ctx context.Context, branches map[string]*branch) {
	var g errgroup.Group
	g.SetLimit(parallelLooks)
	now := time.Now()
	for _, b := range branches {
		if b.due.After(now) || ctx.Err() != nil {
			continue
		}
		g.Go(func() error { f.lookAt(ctx, b); return nil })
	}
	_ = g.Wait() // the funcs return no errors
}

// lookAt tells the services of what is at the head of the branch now, and says when to look again.
func (f *BranchFollower) lookAt(ctx context.Context, b *branch) {
	err := f.look(ctx, b)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		b.failures++
		f.cfg.Log.Warn("look at a followed branch", "service", b.at.Service, "failures", b.failures, "err", err)
	default:
		b.failures = 0
	}
	pause := max(f.cfg.Interval, time.Second)
	for range min(b.failures, 16) {
		pause = min(2*pause, max(maxInterval, f.cfg.Interval))
	}
	b.due = time.Now().Add(pause - pause/10 + f.cfg.Jitter(pause/5))
}

func (f *BranchFollower) look(ctx context.Context, b *branch) error {
	repo := GitRepository{Account: b.at.Scope.Account, URL: b.at.URL, Branch: b.at.Branch}
	if b.at.ConnectionARN != "" {
		var err error
		if repo.Credential, err = f.cfg.Credential(ctx, b.at.ConnectionARN); err != nil {
			return err
		}
	}
	head, err := f.cfg.Git.Head(ctx, repo)
	if err != nil || head == b.known {
		return err
	}
	tree, err := f.cfg.Git.Fetch(ctx, repo)
	if err != nil {
		return err
	}
	defer tree.Close()
	for _, follower := range b.services {
		version, err := tree.Version(ctx, follower.SourceDirectory)
		if err == nil {
			err = f.cfg.Noticed(ctx, follower.Service, version)
		}
		if err != nil && apron.KindOf(err) == 0 { // without its directory a service has nothing to deploy
			return fmt.Errorf("tell service %s: %w", follower.Service, err)
		}
	}
	b.known = tree.Commit
	return nil
}

// untilNext is how long until a branch is due. Without an interval nothing but a knock ends the wait:
// the time is only an upper bound then.
func (f *BranchFollower) untilNext(branches map[string]*branch) time.Duration {
	if f.cfg.Interval == 0 {
		return maxInterval
	}
	next := f.cfg.Interval // new ones are noticed by then
	for _, b := range branches {
		next = min(next, time.Until(b.due))
	}
	return max(next, 0)
}
