package source_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"apron"
	"apron/source"
)

// thief is a server that asks everybody for a password and keeps what it is told.
type thief struct {
	*httptest.Server

	mu    sync.Mutex // guards the fields below
	asked int
	got   []string
}

func newThief(t *testing.T) *thief {
	th := &thief{}
	th.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		th.mu.Lock()
		th.asked++
		if secret := req.Header.Get("Authorization"); secret != "" {
			th.got = append(th.got, req.URL.Path+": "+secret)
		}
		th.mu.Unlock()
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
	}))
	t.Cleanup(th.Close)
	return th
}

// wantNothing fails unless nothing was stolen, in how many requests there were to be.
func (th *thief) wantNothing(t *testing.T, some bool) {
	t.Helper()
	th.mu.Lock()
	defer th.mu.Unlock()
	if len(th.got) != 0 || (th.asked > 0) != some {
		t.Errorf("%d requests, which told %q", th.asked, th.got)
	}
	th.asked = 0
}

// A token is for the hosts of its connection: no look at a branch, no fetch and no redirect takes it
// elsewhere, whatever a service names.
func TestTokenStaysAtItsHosts(t *testing.T) {
	parent := t.TempDir()
	want := newRepository(t, filepath.Join(parent, "private", "web")).write(map[string]string{"file": "x"})
	srv, th := gitServer(t, parent), newThief(t)
	home, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	hosts := apron.TokenHosts{Names: []string{home.Host}}
	g := newGit(t, nil)
	repo := source.GitRepository{
		Account: alice, URL: srv.URL + "/private/web", Branch: "main", Credential: source.GitCredential{Token: token, Hosts: hosts},
	}
	if commit, _, _ := fetch(t, g, repo); commit != want {
		t.Errorf("got commit %s, want %s", commit, want)
	}
	for name, at := range map[string]struct {
		address string
		hosts   apron.TokenHosts
	}{
		"another port": {th.URL + "/private/web", hosts},
		"with a user":  {strings.Replace(th.URL, "://", "://"+home.Hostname()+"@", 1) + "/private/web", hosts},
		"no hosts":     {th.URL + "/private/web", apron.TokenHosts{}},
		"another name": {strings.Replace(th.URL, "127.0.0.1", "localhost", 1) + "/private/web", hosts},
	} {
		repo := repo
		repo.URL, repo.Credential.Hosts = at.address, at.hosts
		_, err := g.Head(t.Context(), repo)
		wantFault(t, err, "cannot be read with the service's connection, which is for "+at.hosts.String())
		_, err = g.Fetch(t.Context(), repo)
		wantFault(t, err, "cannot be read with the service's connection")
		th.wantNothing(t, false)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// What a repository names, submodules and files in LFS, is fetched from elsewhere without the token, as
// is what a redirect leads to.
func TestTokenStaysWithTheRepository(t *testing.T) {
	parent := t.TempDir()
	th := newThief(t)
	inner := newRepository(t, filepath.Join(parent, "inner"))
	inner.write(map[string]string{"file": "x"})
	web := newRepository(t, filepath.Join(parent, "private", "web"))
	web.write(map[string]string{"model": lfsPointer("large")})
	web.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.url(), "inner")
	web.git("config", "-f", ".gitmodules", "submodule.inner.url", th.URL+"/inner")
	web.commit()
	backend := gitServer(t, parent)
	var asked bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, password, _ := req.BasicAuth(); strings.HasSuffix(req.URL.Path, "/info/lfs/objects/batch") && password == token {
			asked = true
			http.Redirect(w, req, th.URL+req.URL.Path, http.StatusTemporaryRedirect) // the same name, another port
			return
		}
		backend.Config.Handler.ServeHTTP(w, req)
	}))
	defer srv.Close()
	repo := source.GitRepository{
		Account: alice, URL: srv.URL + "/private/web", Branch: "main", Credential: source.GitCredential{Token: token, Hosts: here()},
	}
	_, dir, warnings := fetch(t, newGit(t, nil), repo)
	wantFile(t, filepath.Join(dir, "model"), lfsPointer("large"))
	if said := strings.Join(warnings, "\n"); !asked || len(warnings) != 2 || !strings.Contains(said, "inner is left empty") || !strings.Contains(said, "answers 401") {
		t.Errorf("asked: %v; warnings %q", asked, warnings)
	}
	th.wantNothing(t, true)

	// A repository that this server hosts needs no token, and whoever else may be at its address gets none.
	g := newGit(t, func(c *source.GitConfig) {
		c.Embedded = func(_ string, u *url.URL) (string, bool) {
			return filepath.Join(web.dir, ".git"), strings.HasSuffix(u.Path, "/hosted")
		}
	})
	repo.URL = th.URL + "/hosted"
	fetch(t, g, repo)
	th.wantNothing(t, true)
}
