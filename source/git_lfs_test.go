package source_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apron/source"
)

func lfsPointer(content string) string {
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%x\nsize %d\n", sha256.Sum256([]byte(content)), len(content))
}

// lfsServer serves a repository over smart HTTP and the contents of its large files, by Git LFS's batch
// API. With store, they are at another address.
func lfsServer(t *testing.T, dir, store string, contents ...string) *httptest.Server {
	t.Helper()
	backend := gitServer(t, dir)
	byOID := map[string]string{}
	for _, c := range contents {
		byOID[fmt.Sprintf("%x", sha256.Sum256([]byte(c)))] = c
	}
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		switch {
		case strings.HasSuffix(r.URL.Path, "/private/web.git/info/lfs/objects/batch") && password != token:
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, ".git/info/lfs/objects/batch"):
			var ask struct {
				Operation string
				Objects   []struct{ OID string }
			}
			if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || ask.Operation != "download" {
				t.Errorf("asked %+v, %v", ask, err)
			}
			base := store
			if base == "" {
				base = srv.URL
			}
			var objects []map[string]any
			for _, o := range ask.Objects {
				objects = append(objects, map[string]any{"oid": o.OID, "actions": map[string]any{"download": map[string]any{
					"href": base + "/object/" + o.OID, "header": map[string]string{"X-Ticket": "7"},
				}}})
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"objects": objects})
		case strings.HasPrefix(r.URL.Path, "/object/"):
			if r.Header.Get("X-Ticket") != "7" {
				t.Errorf("headers %v", r.Header)
			}
			fmt.Fprint(w, byOID[strings.TrimPrefix(r.URL.Path, "/object/")])
		default:
			r.URL.Path = strings.Replace(r.URL.Path, ".git/", "/", 1)
			backend.Config.Handler.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv
}

func TestLFS(t *testing.T) {
	parent := t.TempDir()
	large := strings.Repeat("large ", 1000)
	files := map[string]string{"a/model": lfsPointer(large), "b": lfsPointer("other"), "text": lfsPointer("x") + "and more"}
	newRepository(t, filepath.Join(parent, "web")).write(files)
	newRepository(t, filepath.Join(parent, "private", "web")).write(files)
	store := lfsServer(t, parent, "", large, "other")
	for name, srv := range map[string]*httptest.Server{
		"beside the repository": lfsServer(t, parent, "", large, "other"), "elsewhere": lfsServer(t, parent, store.URL),
	} {
		for _, at := range []source.GitRepository{
			{Account: alice, URL: srv.URL + "/web", Branch: "main"},
			{Account: alice, URL: srv.URL + "/private/web.git", Branch: "main", Credential: source.GitCredential{Token: token, Hosts: here()}},
		} {
			_, dir, warnings := fetch(t, newGit(t, nil), at)
			wantFile(t, filepath.Join(dir, "a/model"), large)
			wantFile(t, filepath.Join(dir, "b"), "other")
			if info, err := os.Stat(filepath.Join(dir, "a/model")); err != nil || info.Mode().Perm() != 0o755 {
				t.Errorf("%s: %v, %v", name, info, err)
			}
			wantFile(t, filepath.Join(dir, "text"), files["text"]) // only begins like a pointer
			if len(warnings) != 0 {
				t.Errorf("%s: warnings %q", name, warnings)
			}
		}
	}
}

// What cannot be had stays a pointer, with a warning, and nothing is fetched from where nobody may go.
func TestLFSFails(t *testing.T) {
	parent := t.TempDir()
	newRepository(t, filepath.Join(parent, "web")).write(map[string]string{"model": lfsPointer("right")})
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, tt := range map[string]struct {
		srv  *httptest.Server
		want string
	}{
		"another content": {lfsServer(t, parent, "", "wrong"), "the content of model is not what its pointer says"},
		"no server":       {gitServer(t, parent), "answers 404"},
		"nobody there":    {lfsServer(t, parent, closed.URL), "cannot be reached"},
	} {
		_, dir, warnings := fetch(t, newGit(t, nil), source.GitRepository{Account: alice, URL: tt.srv.URL + "/web", Branch: "main"})
		wantFile(t, filepath.Join(dir, "model"), lfsPointer("right"))
		if len(warnings) != 1 || !strings.Contains(warnings[0], tt.want) {
			t.Errorf("%s: warnings %q, want %q", name, warnings, tt.want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s: files %v, %v", name, left, err)
		}
	}
	// Where nobody may go, nothing is fetched from.
	srv := lfsServer(t, parent, "", "right")
	g := newGit(t, func(c *source.GitConfig) {
		c.AllowLocal = false
		c.Embedded = func(string, *url.URL) (string, bool) { return filepath.Join(parent, "web", ".git"), true }
	})
	_, dir, warnings := fetch(t, g, source.GitRepository{Account: alice, URL: srv.URL + "/web", Branch: "main"})
	wantFile(t, filepath.Join(dir, "model"), lfsPointer("right"))
	if len(warnings) != 1 || !strings.Contains(warnings[0], "configuration does not allow") {
		t.Errorf("warnings %q", warnings)
	}
}

func FuzzPointer(f *testing.F) {
	for _, seed := range []string{
		lfsPointer("x"), lfsPointer("x") + "\n", "version https://git-lfs.github.com/spec/v1\next-0-foo sha256:00\noid sha256:" + strings.Repeat("a", 64) + "\nsize 1\n", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		oid, size, ok := source.ParsePointer(text)
		if ok && (len(oid) != 64 || size < 0 || strings.Trim(oid, "0123456789abcdef") != "") {
			t.Errorf("%q is %s of %d", text, oid, size)
		}
	})
}
