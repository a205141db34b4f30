package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"apron"
	"apron/githost"
	"apron/logs"
)

// UploadBranch is the branch that Upload writes.
const UploadBranch = "up"

// Upload is what Local.Upload has made of a directory.
type Upload struct {
	URL             string // of the repository on the embedded Git host
	SourceDirectory string // of the directory in it, absolute
	Commit          string
	Files           int
	Said            []string // by the Git host: what comes of it
}

// Upload packs the files of a directory into the branch UploadBranch of a repository on the embedded
// Git host, as they are now and without a commit by the user. What .gitignore excludes is left out. In
// a Git work tree, all of it is packed, because builds may use what is beside the directory.
func (l Local) Upload(ctx context.Context, dir, repository string) (Upload, error) {
	if name, ok := githost.Name(githost.Prefix + repository + ".git"); !ok || name != repository {
		return Upload{}, fmt.Errorf("%s cannot be the name of a repository", repository)
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return Upload{}, fmt.Errorf("find directory: %w", err)
	}
	p := &packer{local: l, tree: dir}
	if err := p.open(ctx); err != nil {
		return Upload{}, err
	}
	sub, err := filepath.Rel(p.tree, dir)
	if err != nil {
		return Upload{}, fmt.Errorf("find directory: %w", err)
	}
	up := Upload{URL: "http://" + l.Listen + githost.Prefix + repository + ".git", SourceDirectory: "/"}
	if sub != "." {
		up.SourceDirectory += filepath.ToSlash(sub)
	}
	if up.Commit, up.Files, err = p.commit(ctx); err != nil {
		return Upload{}, err
	}
	up.Said, err = p.push(ctx, up)
	return up, err
}

// packer packs one work tree by means of a repository of its own, which it keeps, so that the next time
// only what has changed is read and sent.
type packer struct {
	local Local
	tree  string // top of the work tree
	users string // Git directory of the work tree's own repository; empty: it is in none
	own   string // Git directory of the packer's
}

// open finds the top of the work tree and makes the packer's repository.
func (p *packer) open(ctx context.Context) error {
	out, err := p.git(ctx, "", "-c", "safe.directory=*", "-C", p.tree, "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); err == nil && len(lines) == 2 {
		p.tree, p.users = lines[0], lines[1]
	} else if errors.Is(err, exec.ErrNotFound) {
		return errors.New("git is needed to pack a directory: install it")
	}
	sum := sha256.Sum256([]byte(p.tree))
	p.own = filepath.Join(p.local.Data, "git", "up", hex.EncodeToString(sum[:8]))
	if _, err := p.git(ctx, "", "init", "--quiet", "--bare", "--template=", "--", p.own); err != nil {
		return fmt.Errorf("make repository to pack in: %w", err)
	}
	return nil
}

// commit makes a commit of the work tree as it is, or returns the newest if nothing has changed.
func (p *packer) commit(ctx context.Context) (id string, files int, err error) {
	from := p.users
	if from == "" {
		from = p.own
	}
	list, err := p.git(ctx, "", "--git-dir="+from, "--work-tree="+p.tree, "-C", p.tree, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	if err != nil {
		return "", 0, fmt.Errorf("list files: %w", err)
	}
	if p.users == "" { // what was packed before and is gone or ignored by now must not stay
		if _, err := p.git(ctx, "", "--git-dir="+p.own, "read-tree", "--empty"); err != nil {
			return "", 0, fmt.Errorf("begin to pack: %w", err)
		}
		if list, err = p.git(ctx, "", "--git-dir="+p.own, "--work-tree="+p.tree, "-C", p.tree, "ls-files", "--others", "--exclude-standard", "-z"); err != nil {
			return "", 0, fmt.Errorf("list files: %w", err)
		}
	} else if err := p.forget(ctx, list); err != nil {
		return "", 0, err
	}
	list = withoutDirectories(list)
	if _, err := p.git(ctx, list, "--git-dir="+p.own, "--work-tree="+p.tree, "-C", p.tree, "update-index", "--add", "--remove", "-z", "--stdin"); err != nil {
		return "", 0, fmt.Errorf("pack files: %w", err)
	}
	tree, err := p.git(ctx, "", "--git-dir="+p.own, "write-tree")
	if err != nil {
		return "", 0, fmt.Errorf("pack files: %w", err)
	}
	if id, err = p.successor(ctx, strings.TrimSpace(tree)); err != nil {
		return "", 0, fmt.Errorf("pack files: %w", err)
	}
	return id, strings.Count(list, "\x00"), nil
}

// successor returns the commit of a tree: the newest one if it has that tree, else one behind it. Without
// the history git would not know what the Git host has already, and send everything each time.
func (p *packer) successor(ctx context.Context, tree string) (id string, err error) {
	const ref = "refs/heads/" + UploadBranch
	args := []string{"--git-dir=" + p.own, "commit-tree", "-m", "apron up"}
	last, err := p.git(ctx, "", "--git-dir="+p.own, "log", "-1", "--format=%H %T", ref, "--")
	if lines := strings.Fields(last); err == nil && len(lines) == 2 {
		if lines[1] == tree {
			return lines[0], nil
		}
		args = append(args, "-p", lines[0])
	} else if ctx.Err() != nil {
		return "", err
	}
	id, err = p.git(ctx, "", append(args, tree)...)
	if err == nil {
		_, err = p.git(ctx, "", "--git-dir="+p.own, "update-ref", ref, strings.TrimSpace(id))
	}
	return strings.TrimSpace(id), err
}

// withoutDirectories leaves out repositories inside of the work tree that are no submodules, as git
// does.
func withoutDirectories(list string) string {
	var files strings.Builder
	for name := range strings.SplitSeq(list, "\x00") {
		if name != "" && !strings.HasSuffix(name, "/") {
			files.WriteString(name + "\x00")
		}
	}
	return files.String()
}

// forget takes files out of the packer's index that are not in the list any more.
func (p *packer) forget(ctx context.Context, list string) error {
	before, err := p.git(ctx, "", "--git-dir="+p.own, "ls-files", "-z")
	if err != nil {
		return fmt.Errorf("list packed files: %w", err)
	}
	now := map[string]bool{}
	for name := range strings.SplitSeq(list, "\x00") {
		now[name] = true
	}
	var gone strings.Builder
	for name := range strings.SplitSeq(before, "\x00") {
		if name != "" && !now[name] {
			gone.WriteString(name + "\x00")
		}
	}
	if gone.Len() == 0 {
		return nil
	}
	_, err = p.git(ctx, gone.String(), "--git-dir="+p.own, "--work-tree="+p.tree, "update-index", "--force-remove", "-z", "--stdin")
	if err != nil {
		return fmt.Errorf("forget files: %w", err)
	}
	return nil
}

// push sends the commit and returns what the Git host says to it.
func (p *packer) push(ctx context.Context, up Upload) ([]string, error) {
	// Nearby, looking for what files have in common takes longer than sending them.
	cmd := p.command(ctx, "--git-dir="+p.own, "-c", "pack.window=0", "-c", "pack.compression=1", "push", "--force", "--no-progress", "--", up.URL, up.Commit+":refs/heads/"+UploadBranch)
	cmd.Env = append(cmd.Env, "APRON_GIT_USER="+p.local.Key.ID, "APRON_GIT_TOKEN="+p.local.Key.Secret,
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.http://"+p.local.Listen+".helper",
		`GIT_CONFIG_VALUE_0=!f() { printf 'username=%s\npassword=%s\n' "$APRON_GIT_USER" "$APRON_GIT_TOKEN"; }; f`)
	out, err := cmd.CombinedOutput()
	var said []string
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "remote:"); ok && strings.TrimSpace(text) != "" {
			said = append(said, strings.TrimSpace(text))
		}
	}
	if err != nil {
		return said, fmt.Errorf("push to the embedded Git host: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return said, nil
}

// command is git without anybody's configuration, and with a fixed author and time.
func (p *packer) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_AUTHOR_NAME=apron", "GIT_AUTHOR_EMAIL=apron@localhost",
		"GIT_COMMITTER_NAME=apron", "GIT_COMMITTER_EMAIL=apron@localhost", "GIT_AUTHOR_DATE=@1 +0000", "GIT_COMMITTER_DATE=@1 +0000",
	}
	return cmd
}

// git runs git with text as its input and returns its output.
func (p *packer) git(ctx context.Context, text string, args ...string) (string, error) {
	cmd := p.command(ctx, args...)
	cmd.Stdin = strings.NewReader(text)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return string(out), nil
}

// OperationLog returns the newest lines of an operation's own log, oldest first, at most limit of them
// (0: all).
func (l Local) OperationLog(service apron.ServiceID, id apron.OperationID, limit int) ([]logs.Event, error) {
	s, err := logs.Open(serviceLogDir(l.Data))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.Read(logs.OperationStream(apron.Operation{ID: id, Service: service}), limit)
}
