package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"apron"
)

// Tree is one commit of a repository that is here. It is not safe for concurrent use. Close it:
// nobody else can fetch from the repository before.
type Tree struct {
	Commit string // 40 or 64 hexadecimal digits

	git    *Git
	repo   GitRepository
	dir    string // bare repository
	ref    string
	unlock func()
}

// Close lets others work with the repository.
func (t *Tree) Close() {
	if t.unlock != nil {
		t.unlock()
		t.unlock = nil
	}
}

// CleanDirectory returns a source directory as it is in a tree: without slashes around it, and empty
// for the root. One outside of the repository is an Invalid Fault.
func CleanDirectory(dir string) (string, error) {
	clean := strings.Trim(dir, "/")
	if clean == "" {
		return "", nil
	}
	if !filepath.IsLocal(clean) || strings.ContainsRune(clean, 0) {
		return "", apron.Faultf(apron.Invalid, "The source directory %s is not inside the repository.", shown(dir))
	}
	if clean = path.Clean(clean); clean == "." {
		clean = ""
	}
	return clean, nil
}

// At returns another commit of the same repository, which must be there. The Tree it is from must stay
// open meanwhile.
func (t *Tree) At(commit string) *Tree {
	return &Tree{Commit: commit, git: t.git, repo: t.repo, dir: t.dir, ref: t.ref, unlock: func() {}}
}

// Version names what counts of the commit for a service with the source directory: the commit itself
// with the root, else an id of everything below, which commits that do not differ there share
// (developer guide, "source directory"). A symbolic link is not a directory. A missing one is an
// Invalid Fault.
func (t *Tree) Version(ctx context.Context, dir string) (string, error) {
	clean, err := CleanDirectory(dir)
	if err != nil || clean == "" {
		return t.Commit, err
	}
	out, err := t.git.git(ctx, t.dir, "rev-parse", "--verify", "--quiet", "--end-of-options", t.Commit+":"+clean)
	id := strings.TrimSpace(string(out))
	if err == nil {
		var kind []byte
		if kind, err = t.git.git(ctx, t.dir, "cat-file", "-t", id); err == nil && string(kind) != "tree\n" {
			err = fmt.Errorf("git: %s is a %s", clean, kind)
		}
	}
	if err != nil && ctx.Err() == nil {
		return "", &apron.Fault{
			Kind: apron.Invalid, Err: err,
			Msg: fmt.Sprintf("The repository has no directory %s at the head of branch %s.", shown(dir), shown(t.repo.Branch)),
		}
	}
	return id, err
}

// Bounds of one tree.
const (
	maxTreeFiles  = 500_000
	maxSubmodules = 5 // levels of them
)

// Export writes all files of the commit into the directory to, which must exist and be empty, and
// returns what somebody should know about what could not be had. Nothing is written elsewhere: not by
// a path with .., and not through a symbolic link of the tree. Links are written as they are, wherever
// they lead. Errors are those of Fetch.
func (t *Tree) Export(ctx context.Context, to string) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.git.cfg.Timeout)
	defer cancel()
	root, err := os.OpenRoot(to)
	if err != nil {
		return nil, fmt.Errorf("open export directory: %w", err)
	}
	defer root.Close()
	e := &export{git: t.git, repo: t.repo, root: root, bytes: t.git.cfg.MaxTreeBytes, files: maxTreeFiles}
	modules, err := e.commit(ctx, t.dir, module{commit: t.Commit, url: t.repo.URL})
	if err != nil {
		return nil, err
	}
	if err := e.submodules(ctx, modules); err != nil {
		return nil, err
	}
	if err := e.large(ctx); err != nil {
		return nil, err
	}
	return e.warnings, nil
}

// export is the writing of one tree and of its submodules.
type export struct {
	git      *Git
	repo     GitRepository
	root     *os.Root
	bytes    int64 // left
	files    int   // left
	pointers []pointer
	warnings []string
}

func (e *export) warn(format string, args ...any) {
	if len(e.warnings) < maxProblems {
		e.warnings = append(e.warnings, fmt.Sprintf(format, args...))
	}
}

// entry is one file of a tree.
type entry struct {
	mode, id, path string
	size           int64
}

// commit writes the tree of a commit and returns the submodules it wants.
func (e *export) commit(ctx context.Context, dir string, m module) ([]module, error) {
	listing, err := e.git.git(ctx, dir, "ls-tree", "-r", "-l", "-z", "--full-tree", m.commit)
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	var (
		files   []entry
		modules []module
	)
	for record := range bytes.SplitSeq(bytes.TrimSuffix(listing, []byte{0}), []byte{0}) {
		if len(record) == 0 {
			continue
		}
		f, err := parseEntry(string(record))
		if err != nil {
			return nil, err
		}
		if f.mode == "160000" {
			modules = append(modules, module{path: f.path, commit: f.id})
			continue
		}
		e.files--
		if e.bytes -= f.size; e.bytes < 0 || e.files < 0 {
			return nil, e.tooLarge()
		}
		files = append(files, f)
	}
	if err := e.write(ctx, dir, m, files); err != nil {
		return nil, err
	}
	return e.complete(ctx, dir, m, modules), nil
}

func (e *export) tooLarge() error {
	return apron.Faultf(apron.Invalid, "The repository is too large: its files take more than %s, or are more than %d.",
		size(e.git.cfg.MaxTreeBytes), maxTreeFiles)
}

// parseEntry reads one record of git ls-tree -l: mode, type, object, size, tab, path.
func parseEntry(record string) (entry, error) {
	head, name, ok := strings.Cut(record, "\t")
	fields := strings.Fields(head)
	if !ok || len(fields) != 4 || !isObject(fields[2]) || !filepath.IsLocal(name) {
		return entry{}, apron.Faultf(apron.Invalid, "The repository has a file that cannot be written: %s", shown(record))
	}
	f := entry{mode: fields[0], id: fields[2], path: name}
	if fields[3] != "-" {
		n, err := strconv.ParseInt(fields[3], 10, 64)
		if err != nil || n < 0 {
			return entry{}, fmt.Errorf("git: size of a file: %q", fields[3])
		}
		f.size = n
	}
	return f, nil
}

// write copies the files out of the repository.
func (e *export) write(ctx context.Context, dir string, m module, files []entry) (err error) {
	if len(files) == 0 {
		return nil
	}
	var ids bytes.Buffer
	for _, f := range files {
		ids.WriteString(f.id + "\n")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := e.git.command(ctx, dir, "cat-file", "--batch", "--buffer")
	cmd.Stdin = &ids
	said := &tail{limit: 4 << 10}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	in := bufio.NewReaderSize(out, 256<<10)
	for _, f := range files {
		if err = e.file(in, m, f); err != nil {
			cancel()
			break
		}
	}
	if waited := cmd.Wait(); err == nil && waited != nil {
		err = &gitError{err: waited, stderr: said.String()}
	}
	if err != nil {
		return fmt.Errorf("write files: %w", err)
	}
	return nil
}

// file reads one answer of git cat-file --batch and writes it.
func (e *export) file(in *bufio.Reader, m module, f entry) error {
	name := m.prefix() + f.path
	header, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	if header != fmt.Sprintf("%s blob %d\n", f.id, f.size) {
		return fmt.Errorf("git: object %s: %q", f.id, shown(header))
	}
	if dir := path.Dir(name); dir != "." {
		if err := e.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	content := io.LimitReader(in, f.size)
	if f.mode == "120000" {
		target, err := io.ReadAll(io.LimitReader(content, 4096))
		if err == nil {
			err = e.root.Symlink(string(target), name)
		}
		if err != nil {
			return err
		}
	} else if err := e.regular(content, m, f); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return err
	}
	if end, err := in.ReadByte(); err != nil || end != '\n' {
		return errors.Join(errors.New("git: an object does not end"), err)
	}
	return nil
}

// lfsPointer begins the files that stand in for those in Git LFS (Git LFS specification).
const lfsPointer = "version https://git-lfs.github.com/spec/v1\n"

func (e *export) regular(content io.Reader, m module, f entry) error {
	mode, name := fs.FileMode(0o644), m.prefix()+f.path
	if f.mode == "100755" {
		mode = 0o755
	}
	to, err := e.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if f.size < maxPointerBytes {
		var text []byte
		if text, err = io.ReadAll(content); err == nil {
			_, err = to.Write(text)
		}
		if oid, size, ok := parsePointer(text); ok {
			e.pointers = append(e.pointers, pointer{path: name, module: m.url, oid: oid, size: size})
		}
	} else {
		_, err = io.Copy(to, content)
	}
	return errors.Join(err, to.Close())
}
