package source_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"apron"
	"apron/source"
)

func TestExport(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	if err := os.MkdirAll(filepath.Join(repo.dir, "a dir", "ünder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"inside": "file", "outside": "/etc", "up": "../../etc", "a dir/link": "ünder"} {
		if err := os.Symlink(target, filepath.Join(repo.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	repo.write(map[string]string{
		"file": "x", "empty": "", "a dir/ünder/new\nline": "y", ".gitattributes": "hidden export-ignore\n* text eol=crlf\n", "hidden": "z\n",
		"lfs": lfsPointer("x"),
	})
	if err := os.Chmod(filepath.Join(repo.dir, "empty"), 0o644); err != nil {
		t.Fatal(err)
	}
	repo.commit()
	_, dir, warnings := fetch(t, newGit(t, nil), source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"})
	for name, want := range map[string]string{"file": "x", "empty": "", "a dir/ünder/new\nline": "y", "hidden": "z\n", "inside": "x", "a dir/link/new\nline": "y"} {
		wantFile(t, filepath.Join(dir, name), want)
	}
	for name, want := range map[string]os.FileMode{"file": 0o755, "empty": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info, err, want)
		}
	}
	if target, err := os.Readlink(filepath.Join(dir, "outside")); err != nil || target != "/etc" {
		t.Errorf("link leads to %q, %v", target, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		t.Error("there is a .git")
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "Files in Git LFS stay pointers, such as lfs: only repositories over http and https have them") {
		t.Errorf("warnings %q", warnings)
	}
}

// hostile makes a branch of a tree that git itself would not make, from lines of git mktree.
func (r repository) hostile(lines string) {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), "git", "mktree", "--missing")
	cmd.Dir, cmd.Stdin = r.dir, strings.NewReader(lines)
	tree, err := cmd.Output()
	if err != nil {
		r.Fatal(err)
	}
	commit := r.git("commit-tree", "-m", "hostile", strings.TrimSpace(string(tree)))
	r.git("update-ref", "refs/heads/hostile", commit)
}

// Nothing is written outside of the directory, whatever a tree holds.
func TestExportIsConfined(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	outside := t.TempDir()
	repo.write(map[string]string{"file": "x", "target": outside})
	file, target := repo.git("rev-parse", "HEAD:file"), repo.git("rev-parse", "HEAD:target")
	repo.hostile("100644 blob " + file + "\tescaped\n")
	inner := repo.git("rev-parse", "refs/heads/hostile^{tree}")
	for name, lines := range map[string]string{
		"a directory called ..":   "040000 tree " + inner + "\t..\n",
		"a file called ..":        "100644 blob " + file + "\t..\n",
		"a link, then below it":   "120000 blob " + target + "\ta\n040000 tree " + inner + "\ta\n",
		"a file twice":            "100644 blob " + file + "\ta\n100644 blob " + target + "\ta\n",
		"a link, then a file":     "120000 blob " + target + "\ta\n100644 blob " + file + "\ta\n",
		"a directory called .git": "040000 tree " + inner + "\t.\n",
	} {
		repo.hostile(lines)
		tree, err := newGit(t, nil).Fetch(t.Context(), source.GitRepository{Account: alice, URL: repo.url(), Branch: "hostile"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		dir := t.TempDir()
		_, err = tree.Export(t.Context(), filepath.Join(dir))
		tree.Close()
		if err == nil && name != "a directory called .git" {
			t.Errorf("%s: exported", name)
		}
		for _, where := range []string{outside, filepath.Dir(dir)} {
			if _, err := os.Lstat(filepath.Join(where, "escaped")); err == nil {
				t.Errorf("%s: written to %s", name, where)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	if err := os.Symlink("/etc", filepath.Join(repo.dir, "link")); err != nil {
		t.Fatal(err)
	}
	repo.write(map[string]string{"web/server.js": "one", "api/main.go": "one"})
	g := newGit(t, nil)
	version := func(dir string) (string, error) {
		tree, err := g.Fetch(t.Context(), source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"})
		if err != nil {
			t.Fatal(err)
		}
		defer tree.Close()
		return tree.Version(t.Context(), dir)
	}
	before := map[string]string{}
	for _, dir := range []string{"/", "", "web", "/web", "/web/", "web/../web", "api"} {
		id, err := version(dir)
		if err != nil || id == "" {
			t.Fatalf("%q: %q, %v", dir, id, err)
		}
		before[dir] = id
	}
	if before["web"] != before["/web/"] || before["web"] != before["web/../web"] || before["/"] != before[""] || before["web"] == before["api"] {
		t.Errorf("ids %v", before)
	}
	repo.write(map[string]string{"web/server.js": "two"})
	for dir, changed := range map[string]bool{"/": true, "web": true, "api": false} {
		if id, err := version(dir); err != nil || (id != before[dir]) != changed {
			t.Errorf("%s: changed %v, %v, want %v", dir, id != before[dir], err, changed)
		}
	}
	for dir, want := range map[string]string{
		"nope": "no directory nope", "link": "no directory link", "web/server.js": "no directory", "..": "not inside the repository",
		"/../x": "not inside the repository", "web/../../x": "not inside the repository",
	} {
		_, err := version(dir)
		wantFault(t, err, want)
	}
}

func TestSubmodules(t *testing.T) {
	parent := t.TempDir()
	inner := newRepository(t, filepath.Join(parent, "inner"))
	inner.write(map[string]string{"deep": "2"})
	library := newRepository(t, filepath.Join(parent, "library"))
	library.git("submodule", "--quiet", "add", "../inner", "inner")
	library.write(map[string]string{"file": "1"})
	web := newRepository(t, filepath.Join(parent, "web"))
	web.git("remote", "add", "origin", "file://"+filepath.Join(parent, "web"))
	web.git("submodule", "--quiet", "add", "../library", "vendor/lib")
	web.git("submodule", "--quiet", "add", "--name", "gone", inner.url(), "gone")
	web.git("config", "-f", ".gitmodules", "submodule.gone.url", "file://"+parent+"/nope")
	web.write(map[string]string{"file": "0"})
	_, dir, warnings := fetch(t, newGit(t, nil), source.GitRepository{Account: alice, URL: web.url(), Branch: "main"})
	for name, want := range map[string]string{"file": "0", "vendor/lib/file": "1", "vendor/lib/inner/deep": "2"} {
		wantFile(t, filepath.Join(dir, name), want)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "The submodule gone is left empty: The repository file://"+parent+"/nope does not exist") {
		t.Errorf("warnings %q", warnings)
	}
	// Where the server's own disk is out of bounds, it is so for submodules.
	outer := newGit(t, func(c *source.GitConfig) {
		c.AllowLocal = false
		c.Embedded = func(_ string, u *url.URL) (string, bool) {
			return filepath.Join(web.dir, ".git"), strings.HasSuffix(u.Path, "/web")
		}
	})
	_, dir, warnings = fetch(t, outer, source.GitRepository{Account: alice, URL: web.url(), Branch: "main"})
	wantFile(t, filepath.Join(dir, "file"), "0")
	if len(warnings) != 2 || !strings.Contains(strings.Join(warnings, "\n"), "configuration does not allow") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestEmbeddedRepository(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	want := repo.write(map[string]string{"file": "x"})
	g := newGit(t, func(c *source.GitConfig) {
		c.AllowLocal = false
		c.Embedded = func(account string, u *url.URL) (string, bool) {
			if u.Host != "127.0.0.1:4080" {
				return "", false
			}
			return map[bool]string{true: filepath.Join(repo.dir, ".git"), false: "/nowhere"}[account == alice], true
		}
	})
	at := source.GitRepository{Account: alice, URL: "http://127.0.0.1:4080/git/web.git", Branch: "main"}
	if commit, dir, _ := fetch(t, g, at); commit != want {
		t.Errorf("got commit %s", commit)
	} else {
		wantFile(t, filepath.Join(dir, "file"), "x")
	}
	if head, err := g.Head(t.Context(), at); err != nil || head != want {
		t.Errorf("head is %s, %v", head, err)
	}
	at.Branch = "nope"
	_, err := g.Fetch(t.Context(), at)
	wantFault(t, err, "The repository http://127.0.0.1:4080/git/web.git has no branch nope. It has main.")
	at.Account = bob
	_, err = g.Fetch(t.Context(), at)
	wantFault(t, err, "does not exist")
	if apron.KindOf(err) != apron.Invalid {
		t.Error(err)
	}
}
