package source_test

import (
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"apron"
	"apron/source"
)

// repository is a work tree with a branch main, and the repository it belongs to.
type repository struct {
	testing.TB
	dir string
}

func newRepository(t testing.TB, dir string) repository {
	t.Helper()
	r := repository{t, dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.git("init", "--quiet", "--initial-branch=main", ".")
	r.git("config", "uploadpack.allowAnySHA1InWant", "true")
	return r
}

// git runs git as its user would and returns what it prints.
func (r repository) git(args ...string) string {
	r.Helper()
	cmd := exec.CommandContext(r.Context(), "git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_ALLOW_PROTOCOL=file")
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// write makes files, by their path, and returns the commit that has them.
func (r repository) write(files map[string]string) string {
	r.Helper()
	for name, content := range files {
		full := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			r.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o755); err != nil {
			r.Fatal(err)
		}
	}
	return r.commit()
}

func (r repository) commit() string {
	r.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--allow-empty", "-m", "change")
	return r.git("rev-parse", "HEAD")
}

func (r repository) url() string { return "file://" + r.dir }

// newGit returns a Git that may reach loopback.
func newGit(t testing.TB, change func(*source.GitConfig)) *source.Git {
	t.Helper()
	cfg := source.GitConfig{Dir: t.TempDir(), AllowLocal: true}
	if change != nil {
		change(&cfg)
	}
	g, err := source.NewGit(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// token opens the repositories of a gitServer that asks for one.
const token = "sesame-1234567890"

// here are the hosts of a token for servers on loopback.
func here() apron.TokenHosts { return apron.TokenHosts{Loopback: true} }

// gitServer serves the repositories below dir over smart HTTP, those below private/ to whoever has
// the token.
func gitServer(t *testing.T, dir string) *httptest.Server {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: path, Args: []string{"http-backend"}, Dir: dir,
		Env: []string{
			"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, password, _ := req.BasicAuth()
		switch {
		case strings.HasPrefix(req.URL.Path, "/private/") && password != token:
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case !strings.HasPrefix(req.URL.Path, "/private/") && password != "":
			t.Errorf("a credential was sent for %s", req.URL.Path)
			fallthrough
		default:
			backend.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

// fetch fetches and exports a branch, and returns its commit and the directory.
func fetch(t testing.TB, g *source.Git, repo source.GitRepository) (commit, dir string, warnings []string) {
	t.Helper()
	tree, err := g.Fetch(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	dir = t.TempDir()
	if warnings, err = tree.Export(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return tree.Commit, dir, warnings
}

func wantFile(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v, want %q", name, got, err, want)
	}
}

func loopback() netip.Addr { return netip.MustParseAddr("127.0.0.1") }
