package githost

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// gitSettings is the only configuration git reads here. Pushes are checked; a few blemishes that old
// histories are full of are let through.
const gitSettings = `[gc]
	auto = 0
	autoDetach = false
[maintenance]
	auto = false
[receive]
	autogc = false
	fsckObjects = true
	unpackLimit = 1
	shallowUpdate = true
	advertisePushOptions = false
	denyDeleteCurrent = refuse
[receive "fsck"]
	zeroPaddedFilemode = warn
	missingSpaceBeforeDate = warn
	badTimezone = warn
	missingNameBeforeEmail = warn
	missingTaggerEntry = warn
	nullSha1 = warn
[uploadpack]
	allowFilter = true
	allowAnySHA1InWant = true
[safe]
	directory = *
[protocol]
	allow = never
`

// command is one run of git.
type command struct {
	args     []string
	protocol string
	maxBytes int64      // of any file it writes, and of what is pushed; 0: no bound
	files    []*os.File // further open files, from number 3 on
}

// run runs git in a closed environment until it ends or ctx does.
func (h *Host) run(ctx context.Context, c command, in io.Reader, out io.Writer) error {
	script, limit := `exec git "$@"`, "0"
	if c.maxBytes > 0 {
		// What is pushed is one file, whose size git itself checks too late.
		script, limit = `trap "" XFSZ && ulimit -f "$0" && `+script, strconv.FormatInt(c.maxBytes/512+1, 10)
	}
	//nolint:gosec // the shell's script is one of the two above; what a client names is an argument, vetted by Name
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script, limit}, c.args...)...)
	cmd.Dir = h.home()
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + h.home(), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + h.settingsFile(),
		"GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_PROTOCOL=" + c.protocol,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=receive.maxInputSize", "GIT_CONFIG_VALUE_0=" + strconv.FormatInt(c.maxBytes, 10),
	}
	cmd.ExtraFiles = c.files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	said := &beginning{limit: 2 << 10}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("git %s: %w: %s", c.args[0], err, strings.TrimSpace(string(said.kept)))
	}
	return nil
}

// git runs git on a repository.
func (h *Host) git(ctx context.Context, dir string, args ...string) error {
	return h.run(ctx, command{args: append([]string{"--git-dir=" + dir}, args...)}, nil, nil)
}

// beginning keeps the beginning of what is written to it.
type beginning struct {
	kept  []byte
	limit int
}

// Write is part of io.Writer.
func (b *beginning) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[:min(len(p), b.limit-len(b.kept))]...)
	return len(p), nil
}
