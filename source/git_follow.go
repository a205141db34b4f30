package source

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

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
		cfg.Jitter = anyJitter
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
	due

	like     apron.FollowedBranch // of one of them: repository, branch and connection
	services []apron.FollowedBranch

	known string // commit of the last look of which everybody was told; empty: none
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
		lookAtDue(ctx, branches, f.pause, f.lookAt)
		waiting, most := branches, f.cfg.Interval // new ones are noticed by then
		if most == 0 {
			waiting, most = nil, maxInterval // nothing but a knock ends the wait
		}
		if err := awaitDue(ctx, waiting, most, f.wake); err != nil {
			return err
		}
	}
}

// pause is how long to wait before the next look at a branch.
func (f *BranchFollower) pause(failures int) time.Duration {
	return pauseAfter(max(f.cfg.Interval, time.Second), failures, f.cfg.Jitter)
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
			b = &branch{like: at, due: due{at: time.Now()}}
			if !start {
				b.at = b.at.Add(f.cfg.Jitter(max(f.cfg.Interval, time.Second)))
			}
			branches[key] = b
		}
		if knocked[at.Service] {
			b.at = time.Time{}
		}
		b.services = append(b.services, at)
	}
	maps.DeleteFunc(branches, func(_ string, b *branch) bool { return len(b.services) == 0 })
	return nil
}

// lookAt tells the services of what is at the head of the branch now.
func (f *BranchFollower) lookAt(ctx context.Context, b *branch) error {
	err := f.look(ctx, b)
	if err != nil && ctx.Err() == nil {
		f.cfg.Log.Warn("look at a followed branch", "service", b.like.Service, "failures", b.failures+1, "err", err)
	}
	return err
}

func (f *BranchFollower) look(ctx context.Context, b *branch) error {
	repo := GitRepository{Account: b.like.Scope.Account, URL: b.like.URL, Branch: b.like.Branch}
	if b.like.ConnectionARN != "" {
		var err error
		if repo.Credential, err = f.cfg.Credential(ctx, b.like.ConnectionARN); err != nil {
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
