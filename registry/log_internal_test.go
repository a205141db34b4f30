package registry

import (
	"bytes"
	"testing"

	"github.com/sirupsen/logrus" // to see that nothing reaches it
)

// captureStandardLogger fails the test if anything was written to logrus's own logger during it.
func captureStandardLogger(t *testing.T) {
	t.Helper()
	var b bytes.Buffer
	std := logrus.StandardLogger()
	before := std.Out
	std.SetOutput(&b)
	t.Cleanup(func() {
		std.SetOutput(before)
		if b.Len() > 0 {
			t.Errorf("written to the process's logger: %s", b.String())
		}
	})
}
