package engine

import (
	"context"

	"apron"
)

var _ Engine = (*Unable)(nil)

// Unable is the engine of a machine that cannot run instances: it has none, and says why to whoever
// asks for one. The control plane works with it as with any other.
type Unable struct {
	reason string
	roster *Roster
}

// NewUnable returns an Unable that gives the reason, a sentence.
func NewUnable(reason string) *Unable {
	u := &Unable{reason: reason, roster: NewRoster()}
	u.roster.Found()
	return u
}

// Run waits until ctx is done, as there is nothing to look after.
func (*Unable) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Prepare implements Engine: it always fails, for the reason.
func (u *Unable) Prepare(context.Context, Spec) error { return u.fault() }

// Scale implements Engine: only no instances can be had.
func (u *Unable) Scale(_ context.Context, _ Spec, n int) error {
	if n == 0 {
		return nil
	}
	return u.fault()
}

// Remove implements Engine.
func (*Unable) Remove(context.Context, apron.RevisionID) error { return nil }

// Revisions implements Engine.
func (*Unable) Revisions(context.Context) ([]apron.RevisionID, error) { return nil, nil }

// Watch implements Engine.
func (u *Unable) Watch(ctx context.Context, synced func(), fn func(apron.Instance)) error {
	return u.roster.Watch(ctx, synced, fn)
}

// Describe implements Describer.
func (u *Unable) Describe(context.Context) (Description, error) {
	return Description{Driver: "none", Tier: "instances cannot run on this machine", Reasons: []string{u.reason}}, nil
}

func (u *Unable) fault() error {
	return apron.Faultf(apron.Invalid, "This machine cannot run instances: %s", u.reason)
}
