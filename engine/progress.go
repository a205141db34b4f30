package engine

import "context"

// ProgressPreparer is implemented by engines that can tell how far Prepare has come. Callers must
// type-assert; engines without it are complete engines.
type ProgressPreparer interface {
	// PrepareReporting is Prepare, and calls report with the compressed bytes of the image that are
	// here and those it has in all: a few times a second at most, one call at a time, for the last
	// time before it returns. An image that was here already is not reported. report must not block.
	PrepareReporting(ctx context.Context, spec Spec, report func(done, total int64)) error
}
