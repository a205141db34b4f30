package source_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus" //nolint:depguard // what the distribution handlers log with, to silence them
	"golang.org/x/crypto/bcrypt"

	"apron/source"
)

// foreign is a registry that is not ours: the distribution project's, as an operator would run it.
type foreign struct {
	*httptest.Server
	host string
	app  *handlers.App
	open *httptest.Server // the same content without its door

	mu   sync.Mutex
	seen []*http.Request                                               // every request, in order
	rude func(w http.ResponseWriter, r *http.Request, n int) (ok bool) // answers in the registry's place; n counts from 1
}

// newForeign starts a registry; auth is the part of its configuration of that name, nil for none.
func newForeign(t testing.TB, auth configuration.Auth) *foreign {
	t.Helper()
	logrus.SetOutput(io.Discard)
	dir := t.TempDir()
	f := &foreign{app: newApp(dir, auth)}
	back := newApp(dir, nil)
	f.Server, f.open = httptest.NewServer(http.HandlerFunc(f.serve)), httptest.NewServer(back)
	f.host = strings.TrimPrefix(f.URL, "http://")
	t.Cleanup(func() {
		f.Close()
		f.open.Close()
		for _, app := range []*handlers.App{f.app, back} {
			if err := app.Shutdown(); err != nil {
				t.Error(err)
			}
		}
	})
	return f
}

func newApp(dir string, auth configuration.Auth) *handlers.App {
	cfg := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": dir}, "delete": {"enabled": true},
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
		},
		Auth: auth,
	}
	cfg.Catalog.MaxEntries, cfg.HTTP.RelativeURLs, cfg.HTTP.Secret = 100, true, "secret of this test"
	return handlers.NewApp(context.Background(), cfg)
}

func (f *foreign) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Clone(context.Background()))
	n, rude := len(f.seen), f.rude
	f.mu.Unlock()
	if rude != nil && rude(w, r, n) {
		return
	}
	f.app.ServeHTTP(w, r)
}

// behave sets what answers in the registry's place, and forgets what it has seen.
func (f *foreign) behave(rude func(w http.ResponseWriter, r *http.Request, n int) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen, f.rude = nil, rude
}

func (f *foreign) requests() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*http.Request(nil), f.seen...)
}

// push uploads an image past the registry's authorization.
func (f *foreign) push(t testing.TB, name string, img remote.Taggable) string {
	t.Helper()
	digest, err := source.Push(t.Context(), img, strings.TrimPrefix(f.open.URL, "http://")+"/"+name, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

const (
	foreignUser     = "reader"
	foreignPassword = "open:sesame-7319"
	identityToken   = "identity-token-5521"
)

// basic is a configuration that lets one user in.
func basic(t testing.TB) configuration.Auth {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(foreignPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(foreignUser+":"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return configuration.Auth{"htpasswd": {"realm": "foreign", "path": path}}
}

// tokenServer hands out tokens for a registry: to foreignUser, to who has identityToken, and for
// repositories below public/ to anybody.
type tokenServer struct {
	*httptest.Server
	key  ed25519.PrivateKey
	life time.Duration // zero: not said

	mu    sync.Mutex
	seen  []string // "METHOD who" of every request
	deny  string   // body of a 401 in place of a token
	fails int      // requests that are answered 503 first
}

func newTokenServer(t testing.TB) (*tokenServer, configuration.Auth) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "jwks")
	keys := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"test","x":%q}]}`,
		base64.RawURLEncoding.EncodeToString(public))
	if err := os.WriteFile(path, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &tokenServer{key: private}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s, configuration.Auth{"token": {
		"realm": s.URL + "/token?from=realm", "service": "foreign", "issuer": "issuer", "jwks": path,
	}}
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, scope := "anonymous", r.FormValue("scope")
	user, password, _ := r.BasicAuth()
	switch {
	case user == foreignUser && password == foreignPassword:
		who = "password"
	case user != "":
		who = "stranger"
	case r.Method == http.MethodPost && r.PostFormValue("grant_type") == "refresh_token" && r.PostFormValue("refresh_token") == identityToken:
		who = "identity"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, r.Method+" "+who)
	if s.fails > 0 {
		s.fails--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if s.deny != "" || who == "stranger" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, s.deny)
		return
	}
	access := []map[string]any{}
	kind, rest, _ := strings.Cut(scope, ":")
	if name, actions, ok := strings.Cut(rest, ":"); ok && (who != "anonymous" || strings.HasPrefix(name, "public/") && actions == "pull") {
		access = append(access, map[string]any{"type": kind, "name": name, "actions": strings.Split(actions, ",")})
	}
	now := time.Now()
	body := map[string]any{"token": s.sign(map[string]any{
		"iss": "issuer", "aud": r.FormValue("service"), "sub": user, "iat": now.Unix(), "nbf": now.Unix() - 10,
		"exp": now.Add(5 * time.Minute).Unix(), "jti": fmt.Sprint(now.UnixNano()), "access": access,
	})}
	if s.life > 0 {
		body["expires_in"] = s.life.Seconds()
	}
	_ = json.NewEncoder(w).Encode(body)
}

// sign makes a JSON web token (RFC 7515, compact serialisation).
func (s *tokenServer) sign(claims map[string]any) string {
	enc := base64.RawURLEncoding
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	text := enc.EncodeToString([]byte(`{"alg":"EdDSA","typ":"JWT","kid":"test"}`)) + "." + enc.EncodeToString(payload)
	return text + "." + enc.EncodeToString(ed25519.Sign(s.key, []byte(text)))
}

func (s *tokenServer) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}
