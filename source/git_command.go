package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"apron"
)

// gitSettings is the only configuration git reads, beside what is said for one command: nothing of
// the machine's or of a user's, no hooks, no credentials of others, no work left in the background.
const gitSettings = `[core]
	hooksPath = /dev/null
	fsmonitor = false
	pager = cat
[gc]
	auto = 0
	autoDetach = false
[maintenance]
	auto = false
[fetch]
	recurseSubmodules = false
	unpackLimit = 1
[protocol]
	version = 2
[http]
	followRedirects = false
	lowSpeedLimit = 1000
	lowSpeedTime = 60
	userAgent = git/apron
[safe]
	directory = *
[advice]
	detachedHead = false
`

// git runs git with the settings and the environment the remote needs. dir is the repository; empty:
// none. Its error is a *gitError.
func (r *origin) git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := r.g.command(ctx, dir, args...)
	cmd.Env = append(cmd.Env, r.env...)
	for i, s := range r.settings {
		n := strconv.Itoa(i)
		cmd.Env = append(cmd.Env, "GIT_CONFIG_KEY_"+n+"="+s.key, "GIT_CONFIG_VALUE_"+n+"="+s.value)
	}
	cmd.Env = append(cmd.Env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(r.settings)))
	return output(cmd)
}

// git runs git on a repository of ours.
func (g *Git) git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	return output(g.command(ctx, dir, args...))
}

// command is git in a closed environment. Files it writes are bounded, which bounds what a server can
// send: a fetch is one file.
func (g *Git) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	if dir != "" {
		args = append([]string{"--git-dir=" + dir}, args...)
	}
	blocks := strconv.FormatInt(g.cfg.MaxFetchBytes/512+1, 10) // POSIX, ulimit: units of 512 bytes
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `trap "" XFSZ && ulimit -f "$0" && exec git "$@"`, blocks}, args...)...)
	cmd.Dir = g.home()
	cmd.Env = append(inherited(),
		"HOME="+g.home(), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+g.configFile(), "GIT_ATTR_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false", "SSH_ASKPASS=/bin/false", "GIT_ALLOW_PROTOCOL=http:https:ssh:file",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_OPTIONAL_LOCKS=0", "GIT_CEILING_DIRECTORIES="+g.home())
	// The whole group ends with it: git works through children of its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// inherited returns what git may know of the server's own environment: how to find programs, and how
// to get out of the network.
func inherited() []string {
	var env []string
	for _, name := range []string{
		"PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
	} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		env = append(env, "GIT_SSL_CAINFO="+file)
	}
	return env
}

// gitError is a git that failed and what it said. It is for the log: what remote servers say is in it.
type gitError struct {
	err    error
	stderr string
}

func (e *gitError) Error() string { return fmt.Sprintf("git: %v: %s", e.err, shown(e.stderr)) }
func (e *gitError) Unwrap() error { return e.err }

func output(cmd *exec.Cmd) ([]byte, error) {
	var out bytes.Buffer
	said := &tail{limit: 8 << 10}
	cmd.Stdout, cmd.Stderr = &out, said
	if err := cmd.Run(); err != nil {
		return nil, &gitError{err: err, stderr: strings.TrimSpace(said.String())}
	}
	return out.Bytes(), nil
}

// tail keeps the end of what is written to it.
type tail struct {
	bytes.Buffer
	limit int
}

// Write is part of io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.limit {
		p = p[len(p)-t.limit:]
	}
	if extra := t.Len() + len(p) - t.limit; extra > 0 {
		t.Next(extra)
	}
	t.Buffer.Write(p)
	return n, nil
}

// What git says, in the C locale, about repositories that cannot be read (git 2.30 to 2.50).
var (
	saysDenied = regexp.MustCompile(`(?i)could not read (Username|Password)|Authentication failed|error: 40[13]|Permission denied|Access denied|` +
		`Load key .*(invalid|error)|not authorized`)
	saysHostKey     = regexp.MustCompile(`(?i)Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED`)
	saysAbsent      = regexp.MustCompile(`(?i)error: 404|repository .*not found|does not appear to be a git repository|does not exist|not a git repository`)
	saysBranch      = regexp.MustCompile(`(?i)couldn't find remote ref|Remote branch .* not found`)
	saysUnreachable = regexp.MustCompile(`(?i)Failed to connect|Couldn't connect|Connection (refused|reset|timed out|closed)|Could not resolve|` +
		`timed? ?out|error: (5\d\d|429)|early EOF|remote end hung up|unexpected disconnect|Operation too slow|No route to host|Network is unreachable|Empty reply`)
	saysTLS       = regexp.MustCompile(`(?i)certificate|SSL|TLS`)
	saysTooLarge  = regexp.MustCompile(`(?i)File too large`)
	saysRedirect  = regexp.MustCompile(`error: 30[1278]`)
	saysDumb      = regexp.MustCompile(`(?i)dumb http transport does not support shallow`)
	saysNoProgram = regexp.MustCompile(`(?i)git: not found|ssh: not found|cannot run ssh|remote helper .*(https?)`)
)

// explain makes of a failure of git what the user can act on.
func (r *origin) explain(ctx context.Context, err error) error {
	var failed *gitError
	if !errors.As(err, &failed) {
		return err
	}
	fault := func(format string, args ...any) error {
		return &apron.Fault{Kind: apron.Invalid, Msg: fmt.Sprintf(format, args...), Err: r.redact(failed)}
	}
	s := failed.stderr
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault("The repository %s took longer than %s to fetch.", r.shown, r.g.cfg.Timeout)
	case ctx.Err() != nil:
		return ctx.Err()
	case saysTooLarge.MatchString(s):
		return fault("The repository %s is too large: its newest commit alone takes more than %s.", r.shown, size(r.g.cfg.MaxFetchBytes))
	case saysBranch.MatchString(s):
		return r.noBranch(ctx)
	case saysHostKey.MatchString(s):
		return fault("The host of the repository %s has another key than when it was first seen. If that is as it should be, its line has to be removed from %s on the server.",
			r.shown, r.g.knownHosts())
	case saysDenied.MatchString(s):
		return fault("No access to the repository %s: it does not exist, or needs a connection whose credential opens it.", r.shown)
	case saysAbsent.MatchString(s):
		return fault("The repository %s does not exist, or needs a connection whose credential opens it.", r.shown)
	case saysNoProgram.MatchString(s):
		return fault("The server lacks a program to read %s: install git, and for ssh the OpenSSH client.", r.shown)
	case saysUnreachable.MatchString(s):
		return fmt.Errorf("fetch %s: %w: %w", r.shown, ErrUnreachable, r.redact(failed))
	case saysTLS.MatchString(s):
		return fault("The certificate of %s is not trusted.", r.shown)
	default:
		return fmt.Errorf("fetch %s: %w", r.shown, r.redact(failed))
	}
}

// redact takes the token out, should a server have sent it back.
func (r *origin) redact(e *gitError) error {
	if token := r.repo.Credential.Token; token != "" {
		return &gitError{err: e.err, stderr: strings.ReplaceAll(e.stderr, token, "***")}
	}
	return e
}

// size is a number of bytes for people.
func size(n int64) string {
	if n >= 1<<30 {
		return strconv.FormatInt(n>>30, 10) + " GiB"
	}
	return strconv.FormatInt(max(n>>20, 1), 10) + " MiB"
}
