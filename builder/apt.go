package builder

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
)

// debian fetches packages of the distribution this machine runs, through the machine's own apt: its
// sources, its proxies, its keys. Nothing is installed: apt is shown a machine without packages.
type debian struct {
	dir  string // for apt's caches; made as needed
	keep string // where downloaded packages are

	own      atomic.Bool   // use package lists of our own: the machine's are missing or out of date
	updating chan struct{} // capacity 1: held while they are fetched
}

func newDebian(dir, keep string) *debian {
	return &debian{dir: dir, keep: keep, updating: make(chan struct{}, 1)}
}

// pkg is a package apt has chosen.
type pkg struct {
	name    string
	version string
	file    string // name of the file apt downloads it to
	hash    string // algorithm:hex, as in the package list
}

// String is what makes a package the one it is.
func (p pkg) String() string { return p.name + "=" + p.version + " " + p.hash }

// available reports whether this machine has the tools.
func (*debian) available() bool {
	for _, tool := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return false
		}
	}
	return true
}

// resolve returns the packages, of these names and all they depend on, in the order of their names.
func (d *debian) resolve(ctx context.Context, names ...string) (all []pkg, err error) {
	err = d.try(ctx, func() error {
		out, err := d.aptIn(ctx, "", append([]string{"--print-uris", "install"}, names...)...)
		if err != nil {
			return err
		}
		all, err = parseURIs(out)
		return err
	})
	return all, err
}

// download fetches packages into d.keep, as far as they are not there, and nothing they depend on. apt
// verifies them.
func (d *debian) download(ctx context.Context, packages []pkg) error {
	var names []string
	for _, p := range packages {
		if _, err := os.Stat(filepath.Join(d.keep, p.file)); err != nil {
			names = append(names, p.name+"="+p.version)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if err := os.MkdirAll(d.keep, 0o700); err != nil {
		return fmt.Errorf("make directory for packages: %w", err)
	}
	in, err := os.MkdirTemp(d.keep, "new-") // apt writes to a file's last name what may stay half a file
	if err != nil {
		return fmt.Errorf("make directory for packages: %w", err)
	}
	defer os.RemoveAll(in)
	err = d.try(ctx, func() error {
		_, err := d.aptIn(ctx, in, append([]string{"download"}, names...)...)
		return err
	})
	if err != nil {
		return err
	}
	files, err := os.ReadDir(in)
	if err != nil {
		return fmt.Errorf("read packages: %w", err)
	}
	for _, f := range files {
		if err := os.Rename(filepath.Join(in, f.Name()), filepath.Join(d.keep, f.Name())); err != nil {
			return fmt.Errorf("keep package: %w", err)
		}
	}
	return nil
}

// try does it with the machine's package lists, and again with newer ones of our own: its may be
// missing, or name what the mirror has replaced since, and are its administrator's to renew.
func (d *debian) try(ctx context.Context, do func() error) error {
	own := d.own.Load()
	err := do()
	if err == nil || own || ctx.Err() != nil {
		return err
	}
	select {
	case d.updating <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !d.own.Load() {
		_, err = d.aptIn(ctx, "", "-o", d.lists(), "update")
		d.own.Store(err == nil)
	} else {
		err = nil // somebody else has
	}
	<-d.updating
	if err != nil {
		return err
	}
	return do()
}

// lists is apt's option for the package lists of our own.
func (d *debian) lists() string { return "Dir::State::lists=" + filepath.Join(d.dir, "lists") }

// aptIn runs apt-get on a machine without packages, in a directory, which some commands write to.
func (d *debian) aptIn(ctx context.Context, in string, args ...string) ([]byte, error) {
	archives := d.keep
	if slices.Contains(args, "--print-uris") { // which leaves out what is downloaded already
		archives = filepath.Join(d.dir, "none")
	}
	for _, dir := range []string{filepath.Join(archives, "partial"), filepath.Join(d.dir, "lists", "partial")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory for packages: %w", err)
		}
	}
	empty := filepath.Join(d.dir, "status")
	// Not written again: apt would take what it knows of packages for out of date, and read it anew.
	if f, err := os.OpenFile(empty, os.O_CREATE|os.O_WRONLY, 0o600); err != nil || f.Close() != nil {
		return nil, fmt.Errorf("make directory for packages: %w", err)
	}
	options := []string{
		"-qq", "-y", "--no-install-recommends",
		"-o", "Dir::State::status=" + empty,
		"-o", "Dir::State::extended_states=" + filepath.Join(d.dir, "extended"),
		"-o", "Dir::Cache::archives=" + archives,
		"-o", "Dir::Cache::pkgcache=" + filepath.Join(d.dir, "pkgcache.bin"),
		"-o", "Dir::Cache::srcpkgcache=" + filepath.Join(d.dir, "srcpkgcache.bin"),
		"-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o", "APT::Get::List-Cleanup=0",
		"-o", "Acquire::ForceHash=SHA256", "-o", "Acquire::Retries=3", "-o", "Acquire::Languages=none",
	}
	if d.own.Load() {
		options = append(options, "-o", d.lists())
	}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Dir = in
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("ask apt for packages: %w: %s", err, lastLine(errs.String()))
	}
	return out.Bytes(), nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// parseURIs reads what apt-get --print-uris prints (apt-get(8)): 'URI' FILE SIZE HASH, a line each.
func parseURIs(out []byte) ([]pkg, error) {
	var all []pkg
	for line := range bytes.Lines(out) {
		words := strings.Fields(string(line))
		if len(words) == 0 || !strings.HasPrefix(words[0], "'") {
			continue
		}
		if len(words) < 4 { // it names no hash of another kind than was asked for
			return nil, fmt.Errorf("read apt's answer: it vouches for %.100q with nothing", line)
		}
		file := words[1]
		parts := strings.Split(strings.TrimSuffix(file, ".deb"), "_")
		if len(parts) != 3 || filepath.Base(file) != file || !strings.HasSuffix(file, ".deb") || parts[0] == "" {
			return nil, fmt.Errorf("read apt's answer: %.100q is no package", file)
		}
		all = append(all, pkg{
			name: parts[0], file: file, hash: words[3],
			version: strings.ReplaceAll(parts[1], "%3a", ":"),
		})
	}
	if len(all) == 0 {
		return nil, errors.New("read apt's answer: it names no package")
	}
	return all, nil
}

// upstream returns the version of what is packaged: without epoch, revision and Debian's additions.
func (p pkg) upstream() string {
	v := p.version
	if _, rest, ok := strings.Cut(v, ":"); ok {
		v = rest
	}
	if _, real, ok := strings.Cut(v, "+really"); ok { // of a version that was taken back
		v = real
	}
	end := strings.IndexFunc(v, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		v = v[:end]
	}
	return strings.Trim(v, ".")
}

// npmDefault returns the registry that npm uses when nobody says otherwise, from the package of npm:
// it is npm's to know.
func (d *debian) npmDefault(ctx context.Context) (string, error) {
	all, err := d.resolve(ctx, "npm")
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(all, func(p pkg) bool { return p.name == "npm" })
	if at < 0 {
		return "", errors.New("find the npm registry: apt has no npm")
	}
	dir, err := os.MkdirTemp(d.dir, "npm-")
	if err != nil {
		return "", fmt.Errorf("find the npm registry: %w", err)
	}
	defer os.RemoveAll(dir)
	if _, err := d.aptIn(ctx, dir, "download", "npm="+all[at].version); err != nil {
		return "", fmt.Errorf("find the npm registry: %w", err)
	}
	registry := ""
	err = newTree(io.Discard).unpack(ctx, filepath.Join(dir, all[at].file), func(h *tar.Header, content io.Reader) (bool, error) {
		if registry == "" && strings.HasSuffix(h.Name, "/definitions.js") {
			text, err := io.ReadAll(io.LimitReader(content, 1<<20))
			if err != nil {
				return false, err
			}
			if m := npmDefinition.FindSubmatch(text); m != nil {
				registry = string(m[1])
			}
		}
		return true, nil
	})
	if err == nil && registry == "" {
		err = errors.New("find the npm registry: the npm package names none")
	}
	return registry, err
}

// npmDefinition is where npm's source says what its setting registry is by default.
var npmDefinition = regexp.MustCompile("define\\('registry', \\{\\s*default: [`'\"](https?://[^`'\"]+)[`'\"]")
