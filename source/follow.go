package source

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
)

// FollowerConfig is what a Follower needs. Every member is required unless it says otherwise.
type FollowerConfig struct {
	Resolver *Resolver
	// Followed returns the images that are followed now.
	Followed func(ctx context.Context) ([]apron.FollowedImage, error)
	// Pushed is told of a digest that was pushed to the tag a service follows, Noticed of one that was
	// found there. An error is logged, and the digest told again.
	Pushed, Noticed func(ctx context.Context, service apron.ServiceID, digest string) error
	// Interval is how often a tag in another registry is looked at; 0: never. The embedded registry
	// tells of its pushes.
	Interval time.Duration
	Log      *slog.Logger
	// Jitter spreads out looks that begin together. It returns a time up to d; nil: any.
	Jitter func(d time.Duration) time.Duration
}

// tellAgain is when a push that could not be told is told again.
const tellAgain = time.Second

// Follower tells services of new digests under the tags they name: at once for the embedded registry,
// within the interval for others, and at its start for both, so that a push is not missed because
// nobody was there. Several services that follow one tag cost one look. It is safe for concurrent use.
type Follower struct {
	cfg  FollowerConfig
	wake chan struct{} // holds one element when there are pushes

	mu     sync.Mutex        // guards pushes
	pushes map[pushed]string // digest by tag: only the newest counts
}

// pushed is a tag in the embedded registry.
type pushed struct{ account, repository, tag string }

// NewFollower returns a Follower that does nothing until Run.
func NewFollower(cfg FollowerConfig) *Follower {
	if cfg.Jitter == nil {
		cfg.Jitter = anyJitter
	}
	return &Follower{cfg: cfg, wake: make(chan struct{}, 1), pushes: map[pushed]string{}}
}

// Push is registry.Config.OnPush: it notes a push to the embedded registry, for Run. It never blocks.
func (f *Follower) Push(account, repository, tag, digest string) {
	if tag == "" {
		return // part of an index, or by digest: nobody follows that
	}
	f.mu.Lock()
	f.pushes[pushed{account, repository, tag}] = digest
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // Run will look anyway
	}
}

// Run follows until ctx is done and returns its error.
func (f *Follower) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.tellPushes(ctx) })
	g.Go(func() error { return f.look(ctx) })
	return g.Wait()
}

// tellPushes tells the services that follow a tag of pushes to it. What could not be told is told again
// after a while.
func (f *Follower) tellPushes(ctx context.Context) error {
	for {
		select {
		case <-f.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		for !f.deliver(ctx) {
			timer := time.NewTimer(tellAgain)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
	}
}

// deliver tells of the pushes so far and reports whether all of them are told.
func (f *Follower) deliver(ctx context.Context) bool {
	f.mu.Lock()
	pushes := f.pushes
	f.pushes = map[pushed]string{}
	f.mu.Unlock()
	followed, err := f.cfg.Followed(ctx)
	if err != nil {
		f.cfg.Log.Error("find out who follows what was pushed", "err", err)
		f.putBack(pushes)
		return false
	}
	failed := map[pushed]string{}
	for _, image := range followed {
		ref, err := f.cfg.Resolver.reference(image.Scope, image.Identifier)
		if err != nil || ref.Digest != "" || !f.cfg.Resolver.isEmbedded(ref) {
			continue
		}
		key := pushed{ref.Account, ref.Repository, ref.Tag}
		if digest := pushes[key]; digest != "" && !f.tell(ctx, f.cfg.Pushed, image.Service, digest) {
			failed[key] = digest
		}
	}
	f.putBack(failed)
	return len(failed) == 0
}

// putBack returns pushes that could not be told, unless newer ones have come.
func (f *Follower) putBack(pushes map[pushed]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, digest := range pushes {
		if f.pushes[key] == "" {
			f.pushes[key] = digest
		}
	}
}

func (f *Follower) tell(ctx context.Context, how func(context.Context, apron.ServiceID, string) error, id apron.ServiceID, digest string) bool {
	err := how(ctx, id, digest)
	if err != nil && ctx.Err() == nil {
		f.cfg.Log.Error("tell of a pushed image", "service", id, "digest", digest, "err", err)
	}
	return err == nil
}

// tag is a tag that is looked at, and who follows it.
type tag struct {
	due

	scope      apron.Scope
	identifier string
	services   []apron.ServiceID

	known string // digest at the last look; empty: none was seen
}

// look looks at every tag now and at those of other registries again after each interval.
func (f *Follower) look(ctx context.Context) error {
	tags := map[string]*tag{}
	for start := true; ; {
		if err := f.refresh(ctx, tags, start); err == nil {
			start = false
		} else if ctx.Err() == nil {
			f.cfg.Log.Error("find out which images are followed", "err", err)
		}
		lookAtDue(ctx, tags, f.pause, f.lookAt)
		if f.cfg.Interval == 0 && !start {
			<-ctx.Done()
			return ctx.Err()
		}
		// No longer than until new ones are to be found.
		if err := awaitDue(ctx, tags, max(f.cfg.Interval, time.Second), nil); err != nil {
			return err
		}
	}
}

// pause is how long to wait before the next look at a tag.
func (f *Follower) pause(failures int) time.Duration {
	return pauseAfter(f.cfg.Interval, failures, f.cfg.Jitter)
}

// refresh brings tags up to date with what is followed. At the start all of them are due.
func (f *Follower) refresh(ctx context.Context, tags map[string]*tag, start bool) error {
	followed, err := f.cfg.Followed(ctx)
	if err != nil {
		return err
	}
	for _, t := range tags {
		t.services = nil
	}
	for _, image := range followed {
		ref, err := f.cfg.Resolver.reference(image.Scope, image.Identifier)
		if err != nil || ref.Digest != "" {
			continue
		}
		// Another account may be shown something else under the same name.
		key := image.Scope.Account + " " + ref.String()
		t := tags[key]
		if !start && f.cfg.Resolver.isEmbedded(ref) && (t == nil || t.failures == 0) {
			continue // seen once, which is enough
		}
		if t == nil {
			t = &tag{scope: image.Scope, identifier: image.Identifier, due: due{at: time.Now()}}
			if !start {
				t.at = t.at.Add(f.cfg.Jitter(f.cfg.Interval))
			}
			tags[key] = t
		}
		t.services = append(t.services, image.Service)
	}
	maps.DeleteFunc(tags, func(_ string, t *tag) bool { return len(t.services) == 0 })
	return nil
}

// lookAt tells the services of what the tag names now.
func (f *Follower) lookAt(ctx context.Context, t *tag) error {
	digest, err := f.cfg.Resolver.Changed(ctx, t.scope, t.identifier, t.known)
	if err != nil {
		if ctx.Err() == nil {
			f.cfg.Log.Warn("look at a followed image", "image", t.identifier, "failures", t.failures+1, "err", err)
		}
		return err
	}
	t.known = digest
	for _, id := range t.services {
		f.tell(ctx, f.cfg.Noticed, id, digest) // again after the next look, if it was not heard
	}
	return nil
}
