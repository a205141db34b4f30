package apron

import "time"

// RevisionID identifies a revision: 32 lower-case hex digits.
type RevisionID string

// Revision is an immutable version of a service: the whole configuration and the exact image its
// instances run. Create, update and deployment each make one; a deployment makes it serve.
type Revision struct {
	ID        RevisionID
	Service   ServiceID
	Number    int // 1 for the service's first revision, then counting up
	Config    ServiceConfiguration
	Image     Image // zero until the operation has resolved it
	CreatedAt time.Time
}

// Image is an image pinned by content.
type Image struct {
	Reference string // what to pull: registry/repository@digest, no tag
	Digest    string // algorithm:hex of the manifest for linux/amd64, or of the index
}

// IsZero reports whether the image has not been resolved yet.
func (i Image) IsZero() bool { return i.Digest == "" }
