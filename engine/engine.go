// Package engine is the seam between what should run and what runs it: a revision and a count, not
// containers.
//
// An [Engine] keeps N instances of a revision alive and reports them as a stream. Restarting an
// instance that crashed, and probing its health, belong to the engine, because some of what it
// drives (Kubernetes) does both already. Which revisions run, how many instances each has, and who
// sends them requests is decided in package fleet, the only user of this package.
//
// Drivers live in sub-packages and pass the suite in enginetest. Abilities that not every driver
// has (exec, statistics, freezing) are interfaces of their own, found by type assertion; an engine
// without them is a complete engine.
package engine

import (
	"context"
	"time"

	"apron"
)

// Spec is everything an engine needs to run instances of one revision. Two specs with the same
// Revision are equal: revisions are immutable.
type Spec struct {
	Revision    apron.RevisionID
	Service     apron.ServiceID
	ServiceName string
	Image       apron.Image
	Command     []string // argument vector that replaces the image's entrypoint and command; nil: the image's own
	Env         []string // NAME=value on top of the image's; sensitive, never logged
	Port        uint16   // where the application listens
	MilliCPU    int      // CPU limit, thousandths of a core
	MemoryMiB   int      // memory limit
	HealthCheck apron.HealthCheck
	Runtime     string        // apron.RuntimeRunc or apron.RuntimeGVisor; empty: the driver's default
	StopTimeout time.Duration // from SIGTERM to SIGKILL; 0: the driver's default, 30 s
}

// Engine keeps instances of revisions alive. All methods are safe for concurrent use and
// idempotent: the caller may crash at any time and ask for the same again.
//
// Instances belong to the engine, not to the process that drives it: they outlive the driver, and
// the next driver finds and adopts them.
type Engine interface {
	// Prepare makes the spec's image startable and keeps it, by digest, until Remove: from then on
	// instances start without the registry. It returns an Invalid Fault that says why when the image
	// cannot be had (absent, not authorised, wrong platform, not an image), and another error when
	// trying again may help.
	Prepare(ctx context.Context, spec Spec) error

	// Scale asks for n instances of the spec's revision, in place of whatever was asked for before,
	// and returns when the engine has taken note; what follows is told by Watch. n of 0 stops every
	// instance but keeps the image. The revision must have been prepared.
	Scale(ctx context.Context, spec Spec, n int) error

	// Remove stops the revision's instances, with a grace period for those that handle SIGTERM, and
	// lets go of its image. It returns when nothing of the revision is left. Removing a revision the
	// engine does not know succeeds.
	Remove(ctx context.Context, revision apron.RevisionID) error

	// Revisions returns the revisions of which anything is left here, instances or image, whoever
	// asked for them: after a restart the caller removes those it no longer wants.
	Revisions(ctx context.Context) ([]apron.RevisionID, error)

	// Watch calls fn for every instance there is, then synced once, and then fn at every change of an
	// instance: in order, one call at a time, until ctx is done; it then returns ctx's error. An
	// instance that is to be removed is reported as InstanceStopping before it is asked to end, and a
	// last time as InstanceGone. synced tells the caller that an instance it has not heard of does not
	// exist; it is called only when the engine knows, so after its first contact with what outlived an
	// earlier driver. Neither func may block for long or call the engine.
	Watch(ctx context.Context, synced func(), fn func(apron.Instance)) error
}
