package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"apron"
	"apron/store"
)

// retryRetiring is how long to wait before something is tried again that nobody waits for.
const retryRetiring = 5 * time.Second

// retirement is the end of a revision's instances, under way. It needs no record of its own: what the
// engine has of a revision that neither serves nor takes part in an operation is to be retired, and a
// fleet that starts finds it there.
type retirement struct {
	rev   apron.RevisionID
	shelf *shelf        // where its image stays; nil: the image goes too
	done  chan struct{} // closed when it is over
	err   error         // why it is not done; written before done is closed
	once  sync.Once
	cut   chan struct{} // closed when its requests have had time enough
}

// shelf is what stopping a revision takes that keeps its image.
type shelf struct {
	svc apron.Service
	rev apron.Revision
}

// Tidy has the revisions of the service retired that neither serve nor take part in an operation. Each
// drains and then has its grace period, all of them at once. Those in the service's history keep their
// images, so that they can be gone back to without the registry; the others are removed, and what is
// older than the history is forgotten. Tidy does not block; an operation that has ended is when to call
// it, and whoever starts meanwhile need not wait for it.
func (f *Fleet) Tidy(id apron.ServiceID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.untidy[id] = true
	f.broadcast()
}

// Discard retires a revision that will not serve again, with its image. It does not block.
func (f *Fleet) Discard(rev apron.RevisionID) { f.retire(rev, nil) }

// Retire waits until the requests the revision's instances still have are answered, but no longer
// than one request may take and than LastDrain, then removes its instances and image. The revision must
// not be serving.
func (f *Fleet) Retire(ctx context.Context, rev apron.RevisionID) error {
	for {
		r := f.retire(rev, nil)
		if err := f.awaitRetired(ctx, r); err != nil || r.shelf == nil {
			return err
		}
	}
}

// RetireAll drains and removes every revision of the service that the engine has, all at once, and
// returns when nothing of them is left.
func (f *Fleet) RetireAll(ctx context.Context, id apron.ServiceID) error {
	present, err := f.present(ctx, id)
	if err != nil {
		return err
	}
	errs := make([]error, len(present))
	var all sync.WaitGroup
	for n, rev := range present {
		all.Go(func() { errs[n] = f.Retire(ctx, rev.ID) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// retire has the revision retired, if that is not under way.
func (f *Fleet) retire(rev apron.RevisionID, s *shelf) *retirement {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.retiring[rev]; r != nil {
		return r
	}
	r := &retirement{rev: rev, shelf: s, done: make(chan struct{}), cut: make(chan struct{})}
	f.retiring[rev] = r
	f.queue = append(f.queue, r)
	f.broadcast()
	return r
}

// awaitRetired returns when the retirement is over. For that it cuts short requests that may take longer
// than an operation that waits.
func (f *Fleet) awaitRetired(ctx context.Context, r *retirement) error {
	limit := time.NewTimer(f.cfg.LastDrain)
	defer limit.Stop()
	for {
		select {
		case <-r.done:
			return r.err
		case <-limit.C:
			r.once.Do(func() { close(r.cut) })
		case <-ctx.Done():
			return fmt.Errorf("retire revision %s: %w", r.rev, ctx.Err())
		}
	}
}

// carryOut carries out retirements until ctx is done.
func (f *Fleet) carryOut(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		err := f.await(ctx, func() bool { return len(f.queue) > 0 })
		f.mu.Lock()
		next := f.queue
		f.queue = nil
		f.mu.Unlock()
		for _, r := range next {
			all.Go(func() { f.carryOutOne(ctx, r) })
		}
		if err != nil {
			return err
		}
	}
}

// carryOutOne retires one revision. Whoever waits for it hears of an error at once; it is tried again
// in any case.
func (f *Fleet) carryOutOne(ctx context.Context, r *retirement) {
	var service apron.ServiceID
	service, r.err = f.end(ctx, r)
	f.mu.Lock()
	delete(f.retiring, r.rev)
	if r.err == nil && service != "" {
		f.untidy[service] = true // it may be forgotten now
	}
	close(r.done)
	f.broadcast()
	f.mu.Unlock()
	if r.err == nil || ctx.Err() != nil {
		return
	}
	f.cfg.Log.Error("retire a revision; trying again", "revision", r.rev, "err", r.err)
	if pause(ctx, retryRetiring) == nil {
		f.retire(r.rev, r.shelf)
	}
}

// end drains and stops what runs of the revision, and returns whose it is, if anybody knows.
func (f *Fleet) end(ctx context.Context, r *retirement) (apron.ServiceID, error) {
	if r.shelf != nil {
		return r.shelf.svc.ID, f.shelve(ctx, r.shelf.svc, r.shelf.rev, r.cut)
	}
	var service apron.ServiceID
	rev, err := f.cfg.Store.Revision(ctx, r.rev)
	switch {
	case err == nil:
		service = rev.Service
	case !errors.Is(err, store.ErrNotFound):
		return "", err
	}
	if err := f.drain(ctx, r.rev, r.cut); err != nil {
		return "", err
	}
	if err := f.cfg.Engine.Remove(ctx, r.rev); err != nil {
		return "", fmt.Errorf("remove revision %s: %w", r.rev, err)
	}
	f.forget(r.rev)
	return service, nil
}

// tidyUp does what Tidy asks for until ctx is done.
func (f *Fleet) tidyUp(ctx context.Context) error {
	for {
		if err := f.await(ctx, func() bool { return f.synced && len(f.untidy) > 0 }); err != nil {
			return err
		}
		f.mu.Lock()
		untidy := f.untidy
		f.untidy = map[apron.ServiceID]bool{}
		f.mu.Unlock()
		failed := false
		for id := range untidy {
			if _, err := f.tidyService(ctx, id); err != nil && ctx.Err() == nil {
				f.cfg.Log.Error("retire what a service no longer needs; trying again", "service", id, "err", err)
				f.Tidy(id)
				failed = true
			}
		}
		if failed {
			if err := pause(ctx, retryRetiring); err != nil {
				return err
			}
		}
	}
}

// tidyService has everything of the service retired that neither serves nor takes part in an operation,
// forgets what is older than its history, and returns the retirements under way.
func (f *Fleet) tidyService(ctx context.Context, id apron.ServiceID) ([]*retirement, error) {
	// The engine first: what it has only later is the candidate of an operation that this service, read
	// now, does not have yet. A revision that a service does not name is never named again.
	present, err := f.present(ctx, id)
	if err != nil {
		return nil, err
	}
	svc, err := f.cfg.Store.Service(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read service %s: %w", id, err)
	}
	revisions, err := f.cfg.Store.Revisions(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read revisions of service %s: %w", id, err)
	}
	serving := svc.Active
	if serving == "" {
		serving = svc.Candidate // of a service being paused
	}
	revisions = slices.DeleteFunc(revisions, func(rev apron.Revision) bool { return rev.ID == svc.Candidate && rev.ID != serving })
	kept, old := history(revisions, serving, f.cfg.Revisions)
	if !svc.DeletedAt.IsZero() {
		kept = nil
	}
	var leaving []*retirement
	for _, rev := range present {
		switch {
		case rev.ID == svc.Active || rev.ID == svc.Candidate:
		case !kept[rev.ID]:
			leaving = append(leaving, f.retire(rev.ID, nil))
		case len(f.Instances(rev.ID)) > 0:
			leaving = append(leaving, f.retire(rev.ID, &shelf{svc, rev}))
		}
		old = slices.DeleteFunc(old, func(o apron.RevisionID) bool { return o == rev.ID })
	}
	return leaving, f.forgetRevisions(ctx, svc, old)
}

// present returns those of the service's revisions that the engine has.
func (f *Fleet) present(ctx context.Context, id apron.ServiceID) ([]apron.Revision, error) {
	there, err := f.cfg.Engine.Revisions(ctx)
	if err != nil {
		return nil, fmt.Errorf("list revisions in the engine: %w", err)
	}
	revisions, err := f.cfg.Store.Revisions(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read revisions of service %s: %w", id, err)
	}
	in := make(map[apron.RevisionID]bool, len(there))
	for _, id := range there {
		in[id] = true
	}
	return slices.DeleteFunc(revisions, func(rev apron.Revision) bool { return !in[rev.ID] }), nil
}

// history returns which of a service's revisions, oldest first, keep their images: serving, and the
// newest others that have served, n together. old are those that can be forgotten: they have served
// before that, or are older than n revisions that never did. It is pure.
func history(revisions []apron.Revision, serving apron.RevisionID, n int) (kept map[apron.RevisionID]bool, old []apron.RevisionID) {
	kept = map[apron.RevisionID]bool{serving: true}
	served, failed := 1, 0
	for _, rev := range slices.Backward(revisions) {
		switch {
		case rev.ID == serving:
		case rev.Outcome.Served() && served < n:
			kept[rev.ID] = true
			served++
		case rev.Outcome.Served():
			old = append(old, rev.ID)
		case failed < n:
			failed++
		default:
			old = append(old, rev.ID)
		}
	}
	return kept, old
}

// forgetRevisions removes revisions that the engine no longer has from the store, but for those the
// service's operation is about.
func (f *Fleet) forgetRevisions(ctx context.Context, svc apron.Service, old []apron.RevisionID) error {
	if len(old) == 0 {
		return nil
	}
	return f.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		for _, id := range old {
			if id == svc.Active || id == svc.Candidate {
				continue
			}
			if err := tx.DeleteRevision(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// pause waits for d or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
