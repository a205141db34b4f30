package builder

import (
	"context"

	"apron"
)

// buildDockerfile builds from the repository's own Dockerfile.
func (b *Builder) buildDockerfile(context.Context, Plan, func(string)) (Result, error) {
	return Result{}, apron.Faultf(apron.Invalid, "%s Reason: Building from a Dockerfile is not available yet.", failed)
}
