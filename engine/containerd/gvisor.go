package containerd

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"apron"
	"apron/engine"
)

// sandboxed reports whether gVisor runs the spec's instances.
func (c Config) sandboxed(spec engine.Spec) bool {
	return cmp.Or(spec.Runtime, c.Runtime) == apron.RuntimeGVisor
}

// checkRuntime returns an Invalid Fault when this machine does not have what the spec's instances are to
// be run by.
func (s *session) checkRuntime(spec engine.Spec) error {
	if !s.cfg.sandboxed(spec) {
		return nil
	}
	_, err := s.runtimeBinary(spec)
	return err
}

// runtimeBinary returns the program that the shim drives as it drives runc.
func (s *session) runtimeBinary(spec engine.Spec) (string, error) {
	if !s.cfg.sandboxed(spec) {
		return s.runc, nil
	}
	runsc, err := exec.LookPath("runsc")
	if err == nil {
		runsc, err = filepath.Abs(runsc)
	}
	if err != nil {
		return "", apron.Faultf(apron.Invalid, "The service is to run in gVisor, and runsc is not in the PATH of this server: "+
			"install gVisor (gvisor.dev/docs/user_guide/install), or set the tag apron:runtime to runc.")
	}
	return wrapRunsc(s.cfg.Dir, runsc)
}

// wrapRunsc makes a program that is runsc with fixed flags: gVisor's own network on the instance's link,
// and system calls caught without virtualization, which works everywhere. gVisor's own shim would need
// privileges that root does not always have.
func wrapRunsc(dir, runsc string) (string, error) {
	path := filepath.Join(dir, "bin", "apron-runsc")
	quoted := "'" + strings.ReplaceAll(runsc, "'", `'\''`) + "'"
	script := "#!/bin/sh\nexec " + quoted + " --platform=systrap --network=sandbox \"$@\"\n"
	if old, err := os.ReadFile(path); err == nil && string(old) == script {
		return path, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read wrapper of runsc: %w", err)
	}
	if err := writeFile(path, []byte(script), 0o755); err != nil {
		return "", err
	}
	return path, nil
}
