package githost_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"apron/githost"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice = "123456789012"
	bob   = "210987654321"
)

// world is a Git host with two accounts, each with its number as key and the secret "secret".
type world struct {
	*testing.T
	*httptest.Server
	host *githost.Host

	mu     sync.Mutex // guards pushes
	pushes []githost.Push
}

func newWorld(t *testing.T, change func(*githost.Config)) *world {
	t.Helper()
	w := &world{T: t}
	cfg := githost.Config{
		Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Authenticate: func(_ context.Context, user, password string) (string, bool, error) {
			return user, (user == alice || user == bob) && password == "secret", nil
		},
		OnPush: func(_ context.Context, p githost.Push) []string {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.pushes = append(w.pushes, p)
			return []string{"Deploying " + p.Repository + ".", "Watch it."}
		},
	}
	if change != nil {
		change(&cfg)
	}
	host, err := githost.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.host, w.Server = host, httptest.NewServer(host)
	t.Cleanup(func() {
		w.Close()
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// url is the repository's as a client of the account has it.
func (w *world) url(account, name string) string {
	return strings.Replace(w.URL, "http://", "http://"+account+":secret@", 1) + "/git/" + name
}

// work is a work tree.
type work struct {
	*testing.T
	dir string
}

func newWork(t *testing.T) work {
	t.Helper()
	w := work{t, t.TempDir()}
	w.git("init", "--quiet", "--initial-branch=main", ".")
	return w
}

// try runs git as its user would.
func (w work) try(args ...string) (string, error) {
	cmd := exec.CommandContext(w.Context(), "git", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(),
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (w work) git(args ...string) string {
	w.Helper()
	out, err := w.try(args...)
	if err != nil {
		w.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// commit writes a file and returns the commit that has it.
func (w work) commit(name, content string) string {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o644); err != nil {
		w.Fatal(err)
	}
	w.git("add", "--all")
	w.git("commit", "--quiet", "-m", "change")
	return w.git("rev-parse", "HEAD")
}
