package apron

import "time"

// RevisionID identifies a revision: 32 lower-case hex digits.
type RevisionID string

// Revision is an immutable version of a service: the whole configuration and the exact image its
// instances run. Create, update, deployment and rollback each make one; a deployment makes it serve.
type Revision struct {
	ID      RevisionID
	Service ServiceID
	Number  int // 1 for the service's first revision, then counting up
	Config  ServiceConfiguration
	Image   Image // zero until the operation has resolved or built it
	// Build is how Image was made from source code; nil: it was not, or not yet.
	Build     *Build
	CreatedAt time.Time

	Outcome RevisionOutcome
	Reason  string // why its deployment failed, safe to show to the user; empty unless it did
	CopyOf  int    // number of the revision a rollback made it from; 0: none
}

// Version names what of the service's source the revision runs, as a push does: the digest of its
// image, or the version of its source code. It is empty until the operation has resolved it.
func (r Revision) Version() string {
	if r.Build != nil {
		return r.Build.Version
	}
	return r.Image.Digest
}

// RevisionOutcome is what became of a revision's deployment.
type RevisionOutcome string

// The outcomes.
const (
	RevisionPending    RevisionOutcome = ""            // its deployment has not ended
	RevisionDeployed   RevisionOutcome = "DEPLOYED"    // it serves, or is kept by a service that is paused
	RevisionSuperseded RevisionOutcome = "SUPERSEDED"  // it served until another took its place
	RevisionRolledBack RevisionOutcome = "ROLLED_BACK" // its deployment failed, and what served before serves on
	RevisionFailed     RevisionOutcome = "FAILED"      // its deployment failed, with nothing to go back to
)

// Served reports whether the revision was deployed with success, now or before: one that can be
// gone back to.
func (o RevisionOutcome) Served() bool { return o == RevisionDeployed || o == RevisionSuperseded }

// Image is an image pinned by content.
type Image struct {
	Reference string // what to pull: registry/repository@digest, no tag
	Digest    string // algorithm:hex of the manifest for linux/amd64, or of the index
}

// IsZero reports whether the image has not been resolved yet.
func (i Image) IsZero() bool { return i.Digest == "" }

// Build is what a revision's image was built from, and what the source code itself says about running
// it.
type Build struct {
	Commit string // id of the Git commit, hexadecimal
	// Version names what counts of the commit: with the root as source directory the commit itself,
	// else an id of everything below that directory, which commits that do not differ there share.
	Version        string
	RuntimeVersion string // full version of the language; empty with a Dockerfile
	// Run is how the application is started, from the configuration file or from the API. Its start
	// command is a shell line and part of the image.
	Run RunConfiguration
}

// Run returns how the revision's application is started. It is zero for a revision from source code
// that is not built yet and has its configuration in the repository.
func (r Revision) Run() RunConfiguration {
	if r.Build != nil {
		return r.Build.Run
	}
	return r.Config.Source.Run()
}
