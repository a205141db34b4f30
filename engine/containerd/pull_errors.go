package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"

	"apron"
)

// explainPull tells what the user must change (an Invalid Fault) from what may pass by itself.
// resolved says that the registry has the image's manifest.
func explainPull(err error, ref string, resolved bool) error {
	wrapped := fmt.Errorf("pull image %s: %w", ref, err)
	code := 0
	if status, ok := errors.AsType[remoteerrors.ErrUnexpectedStatus](err); ok {
		code = status.StatusCode
	}
	switch {
	case apron.KindOf(err) != 0:
		return wrapped
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), away(err):
		return wrapped
	case errors.Is(err, docker.ErrInvalidAuthorization), code == http.StatusUnauthorized, code == http.StatusForbidden:
		return &apron.Fault{
			Kind: apron.Invalid, Err: err,
			Msg: fmt.Sprintf("The registry refused access to the image %s: not authorized, or no such repository.", ref),
		}
	case resolved && noMatch(err):
		return wrongPlatform(ref, "other platforms")
	case !resolved && (errdefs.IsNotFound(err) || code == http.StatusNotFound):
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf("The image %s does not exist.", ref)}
	case resolved && (errdefs.IsNotFound(err) || code == http.StatusNotFound):
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf("The image %s is incomplete: the registry lacks a part of it.", ref)}
	case errdefs.IsInvalidArgument(err), errdefs.IsFailedPrecondition(err), errdefs.IsNotImplemented(err):
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf("The image %s is not valid.", ref)}
	default:
		return wrapped
	}
}

// noMatch recognises containerd's refusal of an index without this platform, which has no error
// value of its own (core/images, LimitManifests and Manifest).
func noMatch(err error) bool {
	return errdefs.IsNotFound(err) && strings.Contains(err.Error(), "no match for platform")
}
