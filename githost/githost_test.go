package githost_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron/githost"
)

func TestPushAndClone(t *testing.T) {
	w := newWorld(t, nil)
	work := newWork(t)
	first := work.commit("file", "one")
	said := work.git("push", w.url(alice, "web.git"), "main")
	for _, want := range []string{"remote: Deploying web.", "remote: Watch it.", "[new branch]"} {
		if !strings.Contains(said, want) {
			t.Errorf("the push printed\n%s\nwithout %q", said, want)
		}
	}
	second := work.commit("file", "two")
	work.git("-c", "protocol.version=0", "push", w.url(alice, "web"), "main", "main:refs/heads/other")
	for version := range 3 {
		clone := newWork(t)
		clone.git("-c", fmt.Sprint("protocol.version=", version), "clone", "--quiet", w.url(alice, "web.git"), "there")
		if got, err := os.ReadFile(filepath.Join(clone.dir, "there", "file")); err != nil || string(got) != "two" {
			t.Errorf("version %d: the clone has %q, %v", version, got, err)
		}
	}
	work.git("push", w.url(alice, "web.git"), ":other")
	want := []githost.Push{
		{Account: alice, Repository: "web", Updates: []githost.Update{{Ref: "refs/heads/main", New: first}}},
		{Account: alice, Repository: "web", Updates: []githost.Update{
			{Ref: "refs/heads/main", Old: first, New: second}, {Ref: "refs/heads/other", New: second},
		}},
		{Account: alice, Repository: "web", Updates: []githost.Update{{Ref: "refs/heads/other", Old: second}}},
	}
	if diff := cmp.Diff(want, w.pushes); diff != "" {
		t.Errorf("pushes (-want +got):\n%s", diff)
	}
	if branch := want[1].Updates[1].Branch(); branch != "other" {
		t.Errorf("branch %q", branch)
	}
	// Nothing new: nothing is said, and nothing has happened.
	if said := work.git("push", w.url(alice, "web.git"), "main"); strings.Contains(said, "remote:") || len(w.pushes) != 3 {
		t.Errorf("a push of nothing printed %q and made %d pushes", said, len(w.pushes))
	}
}

// More than fits into one request with a length: git sends it in chunks.
func TestLargePush(t *testing.T) {
	w := newWorld(t, nil)
	work := newWork(t)
	random := make([]byte, 5<<20)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	work.commit("large", string(random))
	work.git("push", "--quiet", w.url(alice, "web.git"), "main")
	clone := newWork(t)
	clone.git("clone", "--quiet", w.url(alice, "web.git"), "there")
	if got, err := os.ReadFile(filepath.Join(clone.dir, "there", "large")); err != nil || !bytes.Equal(got, random) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

func TestAccountsAreSeparate(t *testing.T) {
	w := newWorld(t, nil)
	a, b := newWork(t), newWork(t)
	a.commit("file", "alice")
	a.git("push", "--quiet", w.url(alice, "web.git"), "main")
	if said, err := b.try("clone", w.url(bob, "web.git"), "there"); err == nil || !strings.Contains(said, "there is no repository web") {
		t.Errorf("clone of another account's: %v\n%s", err, said)
	}
	b.commit("file", "bob")
	b.git("push", "--quiet", w.url(bob, "web.git"), "main")
	for account, want := range map[string]string{alice: "alice", bob: "bob"} {
		clone := newWork(t)
		clone.git("clone", "--quiet", w.url(account, "web.git"), "there")
		if got, err := os.ReadFile(filepath.Join(clone.dir, "there", "file")); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", account, got, err)
		}
	}
	if said, err := a.try("push", strings.Replace(w.url(alice, "web.git"), "secret", "wrong", 1), "main"); err == nil {
		t.Errorf("a push with a wrong secret: %s", said)
	}
	if dir := w.host.Dir("../"+bob, "web"); dir != "" {
		t.Error(dir)
	}
}

// The default branch is main, unless something else is all there is.
func TestDefaultBranch(t *testing.T) {
	w := newWorld(t, nil)
	work := newWork(t)
	work.commit("file", "x")
	work.git("push", "--quiet", w.url(alice, "old.git"), "main:refs/heads/master")
	if head := work.git("ls-remote", "--symref", w.url(alice, "old.git"), "HEAD"); !strings.Contains(head, "ref: refs/heads/master") {
		t.Errorf("HEAD is %s", head)
	}
	work.git("push", "--quiet", w.url(alice, "old.git"), "main")
	if head := work.git("ls-remote", "--symref", w.url(alice, "old.git"), "HEAD"); !strings.Contains(head, "ref: refs/heads/master") {
		t.Errorf("HEAD is %s", head)
	}
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, func(c *githost.Config) { c.MaxRepositories, c.MaxBytes = 2, 1<<20 })
	work := newWork(t)
	work.commit("file", "x")
	for _, name := range []string{"one", "two", "two"} {
		work.git("push", "--quiet", w.url(alice, name+".git"), "main")
	}
	if said, err := work.try("push", w.url(alice, "three.git"), "main"); err == nil || !strings.Contains(said, "as many as it may") {
		t.Errorf("a third repository: %v\n%s", err, said)
	}
	work.git("push", "--quiet", w.url(bob, "three.git"), "main")

	random := make([]byte, 900<<10)
	for i := range 3 {
		if _, err := rand.Read(random); err != nil {
			t.Fatal(err)
		}
		work.commit(fmt.Sprint("large", i), string(random))
		said, err := work.try("push", w.url(alice, "one.git"), "main")
		if (err == nil) != (i < 2) {
			t.Errorf("push %d: %v\n%s", i, err, said)
		}
		if i == 2 && !strings.Contains(said, "the repository one is full") {
			t.Errorf("push %d printed %s", i, said)
		}
	}
	huge := newWork(t)
	huge.commit("huge", strings.Repeat(string(random), 3))
	if said, err := huge.try("push", w.url(bob, "four.git"), "main"); err == nil {
		t.Errorf("a push of 2.7 MB: %s", said)
	}
	if len(w.pushes) != 5 {
		t.Errorf("%d pushes", len(w.pushes))
	}
}

// What fills a repository and is of no branch any more goes when there is no room.
func TestFullRepositoryIsTidied(t *testing.T) {
	w := newWorld(t, func(c *githost.Config) { c.MaxBytes = 1 << 20 })
	work := newWork(t)
	random := make([]byte, 600<<10)
	for i := range 2 {
		work.git("checkout", "--quiet", "--orphan", fmt.Sprint("branch", i))
		_, _ = rand.Read(random) // never fails
		work.commit("large", string(random))
		work.git("push", "--quiet", "--force", w.url(alice, "one.git"), "HEAD:refs/heads/main")
	}
	work.commit("small", "x")
	push := func() (string, error) { return work.try("push", w.url(alice, "one.git"), "HEAD:refs/heads/main") }
	if said, err := push(); err == nil || !strings.Contains(said, "is being removed") {
		t.Fatalf("a push to a full repository: %v\n%s", err, said)
	}
	past := time.Now().Add(-2 * time.Hour)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := filepath.WalkDir(w.host.Dir(alice, "one"), func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				_ = os.Chtimes(path, past, past) // it may be gone
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		said, err := push()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the repository stays full: %s", said)
		}
	}
}

func TestRefusedPush(t *testing.T) {
	w := newWorld(t, nil)
	work := newWork(t)
	first := work.commit("file", "one")
	work.commit("file", "two")
	work.git("push", "--quiet", w.url(alice, "web.git"), "main")
	work.git("reset", "--quiet", "--hard", first)
	work.commit("file", "three")
	if said, err := work.try("push", w.url(alice, "web.git"), "main"); err == nil {
		t.Errorf("history was rewritten: %s", said)
	}
	// A tree that would write into .git is refused by the check of what comes in.
	blob := work.git("hash-object", "-w", "file")
	tree := exec.CommandContext(t.Context(), "git", "mktree")
	tree.Dir, tree.Stdin = work.dir, strings.NewReader("100644 blob "+blob+"\t.git\n")
	id, err := tree.Output()
	if err != nil {
		t.Fatal(err)
	}
	evil := work.git("commit-tree", "-m", "evil", strings.TrimSpace(string(id)))
	if said, err := work.try("push", w.url(alice, "web.git"), evil+":refs/heads/evil"); err == nil {
		t.Errorf("a hostile tree came in: %s", said)
	}
	if len(w.pushes) != 1 {
		t.Errorf("pushes %v", w.pushes)
	}
	work.git("push", "--quiet", "--force", w.url(alice, "web.git"), "main")
	if len(w.pushes) != 2 {
		t.Errorf("pushes %v", w.pushes)
	}
}

// Many pushes are packed together in the background, and nothing is lost.
func TestTidy(t *testing.T) {
	w := newWorld(t, nil)
	work := newWork(t)
	var last string
	for i := range 53 {
		last = work.commit("file", fmt.Sprint(i))
		work.git("push", "--quiet", w.url(alice, "web.git"), "main")
	}
	packs := func() int {
		list, err := filepath.Glob(filepath.Join(w.host.Dir(alice, "web"), "objects", "pack", "*.pack"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	tick := time.NewTicker(10 * time.Millisecond) // nobody announces the end of it
	defer tick.Stop()
	for limit := time.After(time.Minute); packs() > 10; {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%d packs", packs())
		}
	}
	if got := work.git("ls-remote", w.url(alice, "web.git"), "refs/heads/main"); !strings.HasPrefix(got, last) {
		t.Errorf("main is %s, want %s", got, last)
	}
}

func TestRequests(t *testing.T) {
	w := newWorld(t, nil)
	work := newWork(t)
	work.commit("file", "one")
	work.git("push", "--quiet", w.url(alice, "web.git"), "main")
	for _, tt := range []struct {
		method, path, kind, body string
		want                     int
	}{
		{"GET", "/git/web.git/info/refs?service=git-upload-pack", "", "", http.StatusOK},
		{"GET", "/git/web/info/refs?service=git-upload-pack", "", "", http.StatusOK},
		{"GET", "/git/web.git/info/refs", "", "", http.StatusNotFound},
		{"GET", "/git/web.git/info/refs?service=git-upload-archive", "", "", http.StatusNotFound},
		{"GET", "/git/nope.git/info/refs?service=git-upload-pack", "", "", http.StatusNotFound},
		{"GET", "/git/web.git/HEAD", "", "", http.StatusNotFound},
		{"GET", "/git/web.git/objects/info/packs", "", "", http.StatusNotFound},
		{"GET", "/git/../web.git/info/refs?service=git-upload-pack", "", "", http.StatusNotFound},
		{"GET", "/git/" + bob + "/web.git/info/refs?service=git-upload-pack", "", "", http.StatusNotFound},
		{"GET", "/git/.git/info/refs?service=git-upload-pack", "", "", http.StatusNotFound},
		{"GET", "/git/-x.git/info/refs?service=git-receive-pack", "", "", http.StatusNotFound},
		{"POST", "/git/web.git/git-upload-pack", "text/plain", "0000", http.StatusNotFound},
		{"POST", "/git/web.git/git-upload-pack", "application/x-git-upload-pack-request", "0000", http.StatusOK},
		{"POST", "/git/web.git/git-receive-pack", "application/x-git-receive-pack-request", "zzzz", http.StatusOK},
		{"DELETE", "/git/web.git/git-receive-pack", "application/x-git-receive-pack-request", "", http.StatusNotFound},
	} {
		for _, user := range []string{alice, ""} {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, w.URL+tt.path, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", tt.kind)
			req.Header.Set("Git-Protocol", "version=1; rm -rf /")
			want := http.StatusUnauthorized
			if user != "" {
				req.SetBasicAuth(user, "secret")
				want = tt.want
			}
			res, err := w.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s %s by %q: %s, want %d", tt.method, tt.path, user, res.Status, want)
			}
		}
	}
}

func TestAuthenticationUnavailable(t *testing.T) {
	w := newWorld(t, func(c *githost.Config) {
		c.Authenticate = func(context.Context, string, string) (string, bool, error) { return "", false, errors.New("no store") }
	})
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/git/web.git/info/refs?service=git-upload-pack", http.NoBody)
	req.SetBasicAuth(alice, "secret")
	w.host.ServeHTTP(rec, req)
	if rec.Code != http.StatusServiceUnavailable || strings.Contains(rec.Body.String(), "store") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func FuzzName(f *testing.F) {
	for _, seed := range []string{"/git/web.git", "/git/web", "/git/../x.git", "/git/a/b.git", "/git/", "/git/x.git.git", "/git/x.lock", "git/x", "/git/.git/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		name, ok := githost.Name(path)
		if ok && (name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00\n ") || strings.HasPrefix(name, "-")) {
			t.Errorf("%q is repository %q", path, name)
		}
	})
}
