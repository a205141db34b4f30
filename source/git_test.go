package source_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/source"
)

func TestGitFetch(t *testing.T) {
	repo := newRepository(t, filepath.Join(t.TempDir(), "team", "web"))
	srv := gitServer(t, filepath.Dir(filepath.Dir(repo.dir)))
	first := repo.write(map[string]string{"app/server.js": "one", "README": "read me"})
	for name, url := range map[string]string{"file": repo.url(), "http": srv.URL + "/team/web"} {
		t.Run(name, func(t *testing.T) {
			repo := repository{t, repo.dir}
			repo.git("reset", "--quiet", "--hard", first)
			g := newGit(t, nil)
			at := source.GitRepository{Account: alice, URL: url, Branch: "main"}
			commit, dir, _ := fetch(t, g, at)
			if commit != first {
				t.Errorf("got commit %s, want %s", commit, first)
			}
			wantFile(t, filepath.Join(dir, "app/server.js"), "one")
			wantFile(t, filepath.Join(dir, "README"), "read me")
			second := repo.write(map[string]string{"app/server.js": "two"})
			if head, err := g.Head(t.Context(), at); err != nil || head != second {
				t.Errorf("head is %s, %v, want %s", head, err, second)
			}
			commit, dir, _ = fetch(t, g, at)
			if commit != second {
				t.Errorf("got commit %s, want %s", commit, second)
			}
			wantFile(t, filepath.Join(dir, "app/server.js"), "two")
		})
	}
}

// However often a repository is fetched from, what is kept is about one version of it.
func TestGitCacheStaysSmall(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	cache := t.TempDir()
	g := newGit(t, func(c *source.GitConfig) { c.Dir = cache })
	for i := range 25 {
		want := repo.write(map[string]string{"file": fmt.Sprint(i)})
		tree, err := g.Fetch(t.Context(), source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"})
		if err != nil || tree.Commit != want {
			t.Fatal(tree, err)
		}
		tree.Close()
	}
	packs, err := filepath.Glob(filepath.Join(cache, "cache", "*", "objects", "pack", "*.pack"))
	if err != nil || len(packs) == 0 || len(packs) > 21 {
		t.Errorf("%d packs, %v", len(packs), err)
	}
}

func TestGitCachesAreEvicted(t *testing.T) {
	cache := t.TempDir()
	g := newGit(t, func(c *source.GitConfig) { c.Dir, c.MaxCacheBytes = cache, 1 })
	for range 3 {
		repo := newRepository(t, t.TempDir())
		repo.write(map[string]string{"file": "x"})
		fetch(t, g, source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"})
	}
	if left, err := os.ReadDir(filepath.Join(cache, "cache")); err != nil || len(left) != 1 {
		t.Errorf("%d caches are left, %v", len(left), err)
	}
}

func TestGitFaults(t *testing.T) {
	parent := t.TempDir()
	repo := newRepository(t, filepath.Join(parent, "web"))
	repo.write(map[string]string{"file": strings.Repeat("x", 100)})
	repo.git("branch", "develop")
	newRepository(t, filepath.Join(parent, "empty"))
	newRepository(t, filepath.Join(parent, "private", "web")).write(map[string]string{"file": "secret"})
	srv := gitServer(t, parent)
	g := newGit(t, nil)
	for name, tt := range map[string]struct{ url, branch, want string }{
		"no branch":      {srv.URL + "/web", "master", "has no branch master. It has develop, main."},
		"empty":          {srv.URL + "/empty", "main", "is empty: it has no branch"},
		"empty file":     {"file://" + parent + "/empty", "main", "is empty: it has no branch"},
		"no repository":  {srv.URL + "/nope", "main", "/nope does not exist"},
		"no file":        {"file://" + parent + "/nope", "main", "/nope does not exist"},
		"no credential":  {srv.URL + "/private/web", "main", "needs a connection"},
		"no branch name": {srv.URL + "/web", "", "not the name of a branch"},
		"option":         {srv.URL + "/web", "--upload-pack=x", "not the name of a branch"},
		"pattern":        {srv.URL + "/web", "ma*", "not the name of a branch"},
		"other protocol": {"ftp://127.0.0.1/web", "main", "has no http, https, ssh or file URL"},
		"command":        {"ext::sh -c id", "main", "has no http, https, ssh or file URL"},
		"option as host": {"ssh://-oProxyCommand=id/web", "main", "no host that could be reached"},
		"option as user": {"ssh://-x@127.0.0.1/web", "main", "no host that could be reached"},
		"no host":        {"https://nowhere.invalid/web", "main", "host nowhere.invalid does not exist"},
	} {
		at := source.GitRepository{Account: alice, URL: tt.url, Branch: tt.branch}
		_, err := g.Fetch(t.Context(), at)
		if f := new(net.DNSError); name == "no host" && errors.As(err, &f) && !f.IsNotFound {
			continue // this machine has no resolver to say so
		}
		wantFault(t, err, tt.want)
		if _, err := g.Head(t.Context(), at); name != "empty file" {
			wantFault(t, err, tt.want)
		}
	}
	_, err := newGit(t, func(c *source.GitConfig) { c.MaxTreeBytes = 99 }).Fetch(t.Context(), source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"})
	if err != nil {
		t.Error(err)
	}
	_, err = g.Fetch(t.Context(), source.GitRepository{
		Account: alice, URL: srv.URL + "/private/web", Branch: "main", Credential: source.GitCredential{Token: "wrong-token", Hosts: here()},
	})
	wantFault(t, err, "needs a connection")
	closed := httptest.NewServer(nil)
	closed.Close()
	if _, err = g.Fetch(t.Context(), source.GitRepository{Account: alice, URL: closed.URL, Branch: "main"}); !errors.Is(err, source.ErrUnreachable) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestGitLimits(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	random := make([]byte, 3<<20) // does not compress
	f, err := os.Open("/dev/urandom")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(random); err != nil {
		t.Fatal(err)
	}
	repo.write(map[string]string{"large": string(random)})
	at := source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"}
	_, err = newGit(t, func(c *source.GitConfig) { c.MaxFetchBytes = 1 << 20 }).Fetch(t.Context(), at)
	wantFault(t, err, "is too large: its newest commit alone takes more than 1 MiB")

	tree, err := newGit(t, func(c *source.GitConfig) { c.MaxTreeBytes = 1 << 20 }).Fetch(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	_, err = tree.Export(t.Context(), t.TempDir())
	wantFault(t, err, "is too large: its files take more than 1 MiB")

	stop := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-stop:
		case <-req.Context().Done():
		}
	}))
	defer silent.Close()
	defer close(stop)
	g := newGit(t, func(c *source.GitConfig) { c.Timeout = 300 * time.Millisecond })
	_, err = g.Fetch(t.Context(), source.GitRepository{Account: alice, URL: silent.URL, Branch: "main"})
	wantFault(t, err, "took longer than 300ms")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Fetch(ctx, at); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What the machine, the user or the environment configures has no effect, and no hook runs.
func TestGitIsClosed(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	want := repo.write(map[string]string{"file": "right"})
	other := newRepository(t, t.TempDir())
	other.write(map[string]string{"file": "wrong"})
	home, mark := t.TempDir(), filepath.Join(t.TempDir(), "mark")
	hooks := filepath.Join(home, "hooks")
	if err := os.MkdirAll(hooks, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, hook := range []string{"reference-transaction", "post-checkout", "pre-auto-gc"} {
		if err := os.WriteFile(filepath.Join(hooks, hook), []byte("#!/bin/sh\ntouch "+mark+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := "[url \"" + other.url() + "\"]\n\tinsteadOf = " + repo.url() + "\n[core]\n\thooksPath = " + hooks + "\n"
	for _, name := range []string{".gitconfig", "system"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(config), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_CONFIG_SYSTEM", filepath.Join(home, "system"))
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
	t.Setenv("GIT_CONFIG_VALUE_0", hooks)
	t.Setenv("GIT_DIR", other.dir)
	commit, dir, _ := fetch(t, newGit(t, nil), source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"})
	if commit != want {
		t.Errorf("got commit %s, want %s", commit, want)
	}
	wantFile(t, filepath.Join(dir, "file"), "right")
	if _, err := os.Stat(mark); err == nil {
		t.Error("a hook ran")
	}
}

// A credential opens its repository and is told to nobody: not to other hosts, not in arguments, not
// in errors.
func TestGitCredential(t *testing.T) {
	parent := t.TempDir()
	want := newRepository(t, filepath.Join(parent, "private", "web")).write(map[string]string{"file": "secret"})
	public := newRepository(t, filepath.Join(parent, "web")).write(map[string]string{"file": "public"})
	srv, other := gitServer(t, parent), gitServer(t, parent)
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, other.URL+strings.TrimPrefix(req.URL.Path, "/moved")+"?"+req.URL.RawQuery, http.StatusMovedPermanently)
	}))
	defer moved.Close()

	bin, args := t.TempDir(), filepath.Join(t.TempDir(), "args")
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	shim := "#!/bin/sh\nprintf '%s\\n' \"$0 $*\" >>" + args + "\nps -eo args >>" + args + " 2>/dev/null\nexec " + real + " \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "git"), []byte(shim), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	g := newGit(t, nil)
	credential := source.GitCredential{Token: token, Hosts: here()}
	private := source.GitRepository{Account: alice, URL: srv.URL + "/private/web", Branch: "main", Credential: credential}
	if commit, _, _ := fetch(t, g, private); commit != want {
		t.Errorf("got commit %s, want %s", commit, want)
	}
	if head, err := g.Head(t.Context(), private); err != nil || head != want {
		t.Errorf("head is %s, %v", head, err)
	}
	said, err := os.ReadFile(args)
	if err != nil || len(said) == 0 || strings.Contains(string(said), token) {
		t.Errorf("arguments: %v\n%s", err, said)
	}
	// What was fetched with it is not there for those who do not have it.
	for _, account := range []string{alice, bob} {
		_, err := g.Fetch(t.Context(), source.GitRepository{Account: account, URL: private.URL, Branch: "main"})
		wantFault(t, err, "needs a connection")
	}
	// A repository that has moved is followed, without the credential.
	at := source.GitRepository{Account: alice, URL: moved.URL + "/moved/web", Branch: "main", Credential: credential}
	if commit, _, _ := fetch(t, g, at); commit != public {
		t.Errorf("got commit %s, want %s", commit, public)
	}
	if head, err := g.Head(t.Context(), at); err != nil || head != public {
		t.Errorf("head is %s, %v", head, err)
	}
	at.URL = moved.URL + "/moved/private/web"
	_, err = g.Fetch(t.Context(), at)
	wantFault(t, err, "needs a connection")
}

// A redirect that leads nowhere is told to the user, as an address that does would be.
func TestGitRedirects(t *testing.T) {
	nobody := httptest.NewServer(http.NotFoundHandler())
	nobody.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		to := map[string]string{
			"absent": "http://absent.example.com/web/info/refs?service=git-upload-pack",
			"down":   nobody.URL + "/web/info/refs?service=git-upload-pack",
			"page":   "/sign-in",
		}[strings.Split(req.URL.Path, "/")[1]]
		if to != "" {
			http.Redirect(w, req, to, http.StatusFound)
		}
	}))
	defer srv.Close()
	g := newGit(t, func(c *source.GitConfig) {
		c.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			if a, err := netip.ParseAddr(host); err == nil {
				return []netip.Addr{a}, nil
			}
			return nil, nil
		}
	})
	for path, want := range map[string]string{"absent": "does not exist", "page": "leads to another page"} {
		_, err := g.Fetch(t.Context(), source.GitRepository{Account: alice, URL: srv.URL + "/" + path, Branch: "main"})
		wantFault(t, err, want)
	}
	_, err := g.Fetch(t.Context(), source.GitRepository{Account: alice, URL: srv.URL + "/down", Branch: "main"})
	if !errors.Is(err, source.ErrUnreachable) {
		t.Errorf("a redirect to where nobody is: %v", err)
	}
}

func TestGitAddresses(t *testing.T) {
	repo := newRepository(t, filepath.Join(t.TempDir(), "web"))
	want := repo.write(map[string]string{"file": "x"})
	srv := gitServer(t, filepath.Dir(repo.dir))
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(srv.URL, "http://"))
	answers := map[string][]netip.Addr{
		"inside.example.com": {loopback()},
		"mixed.example.com":  {netip.MustParseAddr("198.51.100.1"), loopback()},
		"six.example.com":    {netip.MustParseAddr("::ffff:127.0.0.1")},
		"meta.example.com":   {netip.MustParseAddr("169.254.169.254")},
		"zero.example.com":   {netip.MustParseAddr("0.0.0.0")},
	}
	answer := func(_ context.Context, host string) ([]netip.Addr, error) {
		if list, ok := answers[host]; ok {
			return list, nil
		}
		a, err := netip.ParseAddr(host)
		return []netip.Addr{a}, err
	}
	closed := newGit(t, func(c *source.GitConfig) { c.AllowLocal, c.Lookup = false, answer })
	for _, url := range []string{
		srv.URL + "/web", "http://[::1]:" + port + "/web", "http://169.254.169.254/web", "http://[fe80::1]/web", "ssh://127.0.0.1/web",
		"http://inside.example.com:" + port + "/web", "https://mixed.example.com/web", "http://six.example.com:" + port + "/web",
		"http://meta.example.com/web", "http://zero.example.com:" + port + "/web", repo.url(), "ssh://git@inside.example.com/web",
	} {
		_, err := closed.Fetch(t.Context(), source.GitRepository{Account: alice, URL: url, Branch: "main"})
		wantFault(t, err, "configuration does not allow")
	}
	// git goes to the address that was looked at: there is no other way to this host.
	open := newGit(t, func(c *source.GitConfig) { c.Lookup = answer })
	commit, _, _ := fetch(t, open, source.GitRepository{Account: alice, URL: "http://inside.example.com:" + port + "/web", Branch: "main"})
	if commit != want {
		t.Errorf("got commit %s, want %s", commit, want)
	}
	// A token is not shown to the network.
	token := source.GitCredential{Token: "s3cret", Hosts: apron.TokenHosts{Names: []string{"mixed.example.com:" + port}}}
	_, err := open.Fetch(t.Context(), source.GitRepository{Account: alice, URL: "http://mixed.example.com:" + port + "/web", Branch: "main", Credential: token})
	wantFault(t, err, "has no https URL")
}

func TestGitConcurrently(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	want := repo.write(map[string]string{"file": "x"})
	g := newGit(t, nil)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			tree, err := g.Fetch(t.Context(), source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"})
			if err != nil {
				t.Error(err)
				return
			}
			defer tree.Close()
			if tree.Commit != want {
				t.Errorf("got commit %s", tree.Commit)
			}
		})
	}
	all.Wait()
}
