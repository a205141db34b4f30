package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// apronBinary returns the directory of the real binary: the one make built, or one built now.
func apronBinary(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("APRON_BIN"); bin != "" {
		return filepath.Dir(bin)
	}
	dir := t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "apron"), "../cmd/apron").CombinedOutput()
	if err != nil {
		t.Fatalf("build apron: %v\n%s", err, out)
	}
	return dir
}

// TestCommandLine runs the scripts in testdata/*.txtar with the real binary.
func TestCommandLine(t *testing.T) {
	needRoot(t)
	bin, app := apronBinary(t), appBinary(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Condition: func(name string) (bool, error) { // [ci]: nothing may be missing
			if name != "ci" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Getenv("CI") == "true", nil
		},
		Setup: func(env *testscript.Env) error {
			data, err := os.MkdirTemp("", "apron") // short: unix sockets have short names
			if err != nil {
				return err
			}
			env.Defer(func() {
				down(t, data)
				if err := os.RemoveAll(data); err != nil {
					t.Error(err)
				}
			})
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("APRON_DATA", data)
			env.Setenv("APRON_LISTEN", "127.0.0.1:0")
			env.Setenv("APRON_HTTP", "127.0.0.1:0")
			env.Setenv("APRON_HTTPS", "127.0.0.1:0")
			env.Setenv("APP", app)
			return nil
		},
	})
}
