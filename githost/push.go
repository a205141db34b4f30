package githost

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// postReceive is the one hook there is. git runs it once the refs are updated. It passes on what git
// tells it, ended by an empty line, and prints what comes back, which git sends to the client line by
// line. Its two files are those of the git that runs it (command.files).
const postReceive = `#!/bin/sh
{ cat && echo; } >&3 && exec cat <&4
`

// receive runs a push. What the hook says is answered while the client waits.
func (x *exchange) receive(ctx context.Context, in io.Reader, out io.Writer) error {
	fromHook, hookOut, err := os.Pipe()
	if err != nil {
		return err
	}
	hookIn, toHook, err := os.Pipe()
	if err != nil {
		return errors.Join(err, fromHook.Close(), hookOut.Close())
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		if updates := readUpdates(fromHook); len(updates) > 0 {
			x.pushed(ctx, toHook, updates)
		}
		_ = toHook.Close()
		_, _ = io.Copy(io.Discard, fromHook) // nothing, or the hook would wait for somebody to read it
	}()
	c := x.command("--stateless-rpc")
	c.files = []*os.File{hookOut, hookIn}
	err = x.host.run(ctx, c, in, out)
	_ = hookOut.Close() // with git gone, the hook will say nothing more
	_ = hookIn.Close()
	<-told
	_ = fromHook.Close()
	if packs, err := filepath.Glob(filepath.Join(x.dir, "objects", "pack", "*.pack")); err == nil && len(packs) > tidyAfter {
		x.host.tidy(x.dir, "--prune=2.weeks.ago")
	}
	return err
}

// pushed tells OnPush, and the hook what it says.
func (x *exchange) pushed(ctx context.Context, to io.Writer, updates []Update) {
	if err := x.chooseHead(ctx, updates); err != nil {
		x.report(ctx, err)
	}
	var text strings.Builder
	for _, line := range x.host.cfg.OnPush(ctx, Push{Account: x.account, Repository: x.name, Updates: updates}) {
		text.WriteString(line + "\n")
	}
	_, _ = io.WriteString(to, text.String()) // the client is gone: nobody left to tell
}

// chooseHead makes a branch that was pushed the default one when there is none yet, so that a clone
// finds something to check out.
func (x *exchange) chooseHead(ctx context.Context, updates []Update) error {
	for _, u := range updates {
		if u.Old != "" || u.Branch() == "" {
			continue
		}
		if x.host.git(ctx, x.dir, "rev-parse", "--verify", "--quiet", "HEAD") == nil {
			return nil
		}
		return x.host.git(ctx, x.dir, "symbolic-ref", "HEAD", u.Ref)
	}
	return nil
}

// maxUpdates bounds how many refs of one push are looked at.
const maxUpdates = 10_000

var object = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// readUpdates reads what git tells a post-receive hook (githooks): lines of old, new and ref, up to an
// empty one. It returns none when that does not come.
func readUpdates(r io.Reader) []Update {
	var list []Update
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if lines.Text() == "" {
			return list
		}
		fields := strings.SplitN(lines.Text(), " ", 3)
		if len(fields) != 3 || !object.MatchString(fields[0]) || !object.MatchString(fields[1]) || fields[2] == "" {
			return nil
		}
		if len(list) < maxUpdates {
			list = append(list, Update{Ref: fields[2], Old: orNone(fields[0]), New: orNone(fields[1])})
		}
	}
	return nil
}

// orNone returns an object id, or nothing for the id that stands for none.
func orNone(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}
