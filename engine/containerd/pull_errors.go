package containerd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"apron"
)

// explainPull tells what the user must change (an Invalid Fault) from what may pass by itself.
func explainPull(err error, ref string) error {
	wrapped := fmt.Errorf("pull image %s: %w", ref, err)
	fault := func(format string) error {
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf(format, ref)}
	}
	switch {
	case apron.KindOf(err) != 0:
		return wrapped
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), away(err):
		return wrapped
	case strings.Contains(err.Error(), "no space left on device"): // all that is left of ENOSPC after a call
		return fault("There is not enough disk space on this machine for the image %s.")
	case strings.Contains(err.Error(), tooLarge): // likewise
		return fault("The image %s is too large: its layers unpack to more than is allowed (max-unpacked-mib).")
	case strings.Contains(err.Error(), "unexpected commit digest"): // plugins/content/local: writer.Commit
		return fault("The registry delivers something else than it should for the image %s: the content of a part does not have the part's digest.")
	case errdefs.IsInvalidArgument(err), errdefs.IsFailedPrecondition(err), errdefs.IsNotImplemented(err), errdefs.IsNotFound(err):
		return fault("The image %s is not valid.")
	default:
		return wrapped
	}
}
