package containerd_test

import (
	"strings"
	"testing"

	"apron"
	"apron/engine/enginetest"
)

// TestPrepareBuiltImageThatIsGone must not ask a registry of that name on the network.
func TestPrepareBuiltImageThatIsGone(t *testing.T) {
	r := newRig(t)
	digest := "sha256:" + strings.Repeat("0", 64)
	spec := enginetest.SpecOf(apron.Image{Reference: "apron.build/service@" + digest, Digest: digest})
	err := r.driver.Prepare(t.Context(), spec)
	if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "no longer here") {
		t.Errorf("Prepare of a built image that is gone: %v", err)
	}
}
