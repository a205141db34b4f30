package source_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/source"
)

func newResolver(t testing.TB, cfg source.Config) *source.Resolver {
	t.Helper()
	cfg.Backoff = time.Millisecond
	r, err := source.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// wantNoSecret fails if err, however printed, tells what a registry is let in with.
func wantNoSecret(t testing.TB, err error) {
	t.Helper()
	for _, secret := range []string{
		foreignPassword, "sesame", identityToken, "wrong-password",
		base64.StdEncoding.EncodeToString([]byte(foreignUser + ":" + foreignPassword)),
	} {
		if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, secret) {
			t.Errorf("%q is told by %s", secret, s)
		}
	}
}

func TestBasicAuth(t *testing.T) {
	f := newForeign(t, basic(t))
	digest := f.push(t, "team/web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	name := f.host + "/team/web:v1"

	_, err := newResolver(t, source.Config{}).Resolve(t.Context(), scopeOf(alice), name)
	wantFault(t, err, "no credentials are configured for "+f.host+"). The registry says: UNAUTHORIZED: authentication required.")

	wrong := newResolver(t, source.Config{Credentials: map[string]source.Credential{f.host: {User: foreignUser, Password: "wrong-password"}}})
	f.behave(nil)
	_, err = wrong.Resolve(t.Context(), scopeOf(alice), name)
	wantFault(t, err, "not authorized with the credentials configured for "+f.host)
	wantNoSecret(t, err)
	if n := len(f.requests()); n != 2 {
		t.Errorf("%d requests with a wrong password, want 2", n)
	}

	r := newResolver(t, source.Config{Credentials: map[string]source.Credential{strings.ToUpper(f.host): {User: foreignUser, Password: foreignPassword}}})
	f.behave(nil)
	for range 2 {
		got, err := r.Resolve(t.Context(), scopeOf(alice), name)
		if err != nil || got.Digest != digest {
			t.Fatalf("got %v, %v, want %s", got, err, digest)
		}
	}
	if n := len(f.requests()); n != 5 { // refused once; a manifest and a configuration each
		t.Errorf("%d requests, want 5: what the registry accepts is not remembered", n)
	}
}

func TestTokenAuth(t *testing.T) {
	tokens, auth := newTokenServer(t)
	f := newForeign(t, auth)
	secret := f.push(t, "private/web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	open := f.push(t, "public/web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	password := source.Credential{User: foreignUser, Password: foreignPassword}
	for name, row := range map[string]struct {
		credential source.Credential
		repository string
		digest     string
		calls      []string
	}{
		"anonymous": {source.Credential{}, "public/web:v1", open, []string{"GET anonymous"}},
		"password":  {password, "private/web:v1", secret, []string{"GET password"}},
		"identity":  {source.Credential{User: "ignored", Password: "ignored", IdentityToken: identityToken}, "private/web:v1", secret, []string{"POST identity"}},
	} {
		t.Run(name, func(t *testing.T) {
			tokens.seen = nil
			r := newResolver(t, source.Config{Credentials: map[string]source.Credential{f.host: row.credential}})
			for range 2 {
				got, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/"+row.repository)
				if err != nil || got.Digest != row.digest {
					t.Fatalf("got %v, %v, want %s", got, err, row.digest)
				}
			}
			if diff := cmp.Diff(row.calls, tokens.calls()); diff != "" {
				t.Errorf("tokens asked for (-want +got):\n%s", diff)
			}
		})
	}

	_, err := newResolver(t, source.Config{}).Resolve(t.Context(), scopeOf(alice), f.host+"/private/web:v1")
	wantFault(t, err, "does not allow access")

	tokens.deny = fmt.Sprintf(`{"details":"no %s for you"}`, foreignPassword)
	r := newResolver(t, source.Config{Credentials: map[string]source.Credential{f.host: password}})
	_, err = r.Resolve(t.Context(), scopeOf(alice), f.host+"/private/web:v1")
	wantFault(t, err, "The registry says: no *** for you.")
	wantNoSecret(t, err)

	tokens.deny, tokens.fails, tokens.seen = "", 2, nil
	if _, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/private/web:v1"); err != nil || len(tokens.calls()) != 3 {
		t.Errorf("a token server that fails twice: %v after %v", err, tokens.calls())
	}
}

// A token that the registry no longer takes is replaced by another.
func TestTokenExpires(t *testing.T) {
	tokens, auth := newTokenServer(t)
	f := newForeign(t, auth)
	f.push(t, "public/web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	r := newResolver(t, source.Config{})
	tokens.seen = nil
	refused := false
	f.behave(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if len(tokens.calls()) == 1 && r.Header.Get("Authorization") != "" && strings.Contains(r.URL.Path, "/blobs/") {
			refused = true
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="foreign",scope="repository:public/web:pull",error="invalid_token"`, tokens.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	if _, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/public/web:v1"); err != nil || !refused || len(tokens.calls()) != 2 {
		t.Errorf("%v (refused: %v), tokens %v", err, refused, tokens.calls())
	}
}

func TestDockerConfig(t *testing.T) {
	tokens, auth := newTokenServer(t)
	f := newForeign(t, auth)
	f.push(t, "private/web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	path := filepath.Join(t.TempDir(), "config.json")
	write := func(format string, args ...any) {
		t.Helper()
		if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(foreignUser + ":" + foreignPassword))
	bin := t.TempDir()
	helper := "#!/bin/sh\nread host\n[ \"$1\" = get ] && [ \"$host\" = '" + f.host + "' ] && [ -z \"$APRON_SECRET\" ] || { echo 'credentials not found in native keychain'; exit 1; }\n" +
		"echo '{\"ServerURL\":\"x\",\"Username\":\"<token>\",\"Secret\":\"" + identityToken + "\"}'\n"
	for name, text := range map[string]string{"test": helper, "broken": "#!/bin/sh\necho " + foreignPassword + "\nexit 1\n"} {
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("APRON_SECRET", "not for helpers")
	write(`{}`)
	r := newResolver(t, source.Config{DockerConfig: path})
	for name, row := range map[string]struct{ config, call string }{
		"auth":           {fmt.Sprintf(`{"auths":{%q:{"auth":%q}}, "HttpHeaders":{"a":"b"}}`, f.host, encoded), "GET password"},
		"url":            {fmt.Sprintf(`{"auths":{"http://%s/v2/":{"username":%q,"password":%q}}}`, f.host, foreignUser, foreignPassword), "GET password"},
		"identity token": {fmt.Sprintf(`{"auths":{%q:{"auth":%q,"identitytoken":%q}}}`, f.host, encoded, identityToken), "POST identity"},
		"helper":         {fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, f.host), "POST identity"},
		"store":          {`{"credsStore":"test"}`, "POST identity"},
		"helper without": {fmt.Sprintf(`{"auths":{%q:{"auth":%q}},"credHelpers":{"localhost:1":"test"}}`, f.host, encoded), "GET password"},
	} {
		tokens.seen = nil
		write("%s", row.config)
		if _, err := newResolver(t, source.Config{DockerConfig: path}).Resolve(t.Context(), scopeOf(alice), f.host+"/private/web:v1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff([]string{row.call}, tokens.calls()); diff != "" {
			t.Errorf("%s: tokens asked for (-want +got):\n%s", name, diff)
		}
		if _, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/private/web:v1"); err != nil {
			t.Errorf("%s, changed while the server runs: %v", name, err)
		}
	}
	for name, config := range map[string]string{
		"broken helper": `{"credsStore":"broken"}`, "no such helper": `{"credsStore":"absent"}`, "broken file": `{"auths":` + foreignPassword,
	} {
		write("%s", config)
		_, err := r.Resolve(t.Context(), scopeOf(alice), f.host+"/private/web:v1")
		if u := (*source.UnavailableError)(nil); !errors.As(err, &u) || !strings.Contains(u.Msg, "cannot be read") {
			t.Errorf("%s: %v", name, err)
		}
		wantNoSecret(t, err)
	}
	for _, config := range []string{`{"credsStore":"../evil"}`, `{"auths":{"x":{"auth":"?"}}}`, `[]`} {
		write("%s", config)
		if _, err := source.New(source.Config{DockerConfig: path}); err == nil {
			t.Errorf("%s was accepted", config)
		}
	}
	if _, err := source.New(source.Config{DockerConfig: path + ".absent"}); err == nil {
		t.Error("a file that is not there was accepted")
	}
}

// Credentials go to the registry they are for and its token server, never without TLS unless that is
// configured.
func TestCredentialsStayWhereTheyBelong(t *testing.T) {
	credential := source.Credential{User: foreignUser, Password: foreignPassword}
	all := map[string]source.Credential{"registry.example.com": credential, "10.0.0.9:5000": credential}
	sent := func(change func(*source.Config), answer http.HandlerFunc) []string {
		var seen []string
		cfg := source.Config{Credentials: all, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			who := ""
			if req.Header.Get("Authorization") != "" {
				who = " with credentials"
			}
			seen = append(seen, req.URL.Scheme+"://"+req.URL.Host+who)
			w := httptest.NewRecorder()
			answer(w, req)
			return w.Result(), nil
		})}
		if change != nil {
			change(&cfg)
		}
		r := newResolver(t, cfg)
		for _, name := range []string{"registry.example.com/web", "10.0.0.9:5000/web"} {
			_, err := r.Resolve(t.Context(), scopeOf(alice), name)
			if apron.KindOf(err) != apron.Invalid {
				t.Errorf("%s: got %v, want a fault", name, err)
			}
			wantNoSecret(t, err)
		}
		return seen
	}
	challenge := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if req.Header.Get("Authorization") == "" {
				w.Header().Set("WWW-Authenticate", text)
				w.WriteHeader(http.StatusUnauthorized)
			} else {
				w.WriteHeader(http.StatusNotFound)
			}
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			if !strings.HasPrefix(req.URL.Path, "/v2/") || req.Header.Get("Authorization") == "" {
				challenge(`Basic realm="x"`)(w, req)
			} else {
				http.Redirect(w, req, to, http.StatusTemporaryRedirect)
			}
		}
	}
	insecure := func(c *source.Config) { c.Insecure = []string{"10.0.0.9:5000"} }
	for name, row := range map[string]struct {
		change func(*source.Config)
		answer http.HandlerFunc
		want   []string
	}{
		"basic": {nil, challenge(`Basic realm="x"`), []string{
			"https://registry.example.com", "https://registry.example.com with credentials",
			"https://10.0.0.9:5000", "https://10.0.0.9:5000 with credentials",
		}},
		"basic, insecure": {insecure, challenge(`Basic realm="x"`), []string{
			"https://registry.example.com", "https://registry.example.com with credentials",
			"http://10.0.0.9:5000", "http://10.0.0.9:5000 with credentials",
		}},
		"token server in clear text": {insecure, challenge(`Bearer realm="http://tokens.example.com/"`), []string{
			"https://registry.example.com", "http://10.0.0.9:5000",
		}},
		"token server on loopback": {nil, challenge(`Bearer realm="http://127.0.0.1/"`), []string{
			"https://registry.example.com", "https://10.0.0.9:5000",
		}},
		"another host": {nil, redirect("https://cdn.registry.example.com/blob"), []string{
			"https://registry.example.com", "https://registry.example.com with credentials", "https://cdn.registry.example.com",
			"https://10.0.0.9:5000", "https://10.0.0.9:5000 with credentials", "https://cdn.registry.example.com",
		}},
		"another port": {nil, redirect("https://registry.example.com:8443/blob"), []string{
			"https://registry.example.com", "https://registry.example.com with credentials", "https://registry.example.com:8443",
			"https://10.0.0.9:5000", "https://10.0.0.9:5000 with credentials", "https://registry.example.com:8443",
		}},
		"clear text": {nil, redirect("http://registry.example.com/blob"), []string{
			"https://registry.example.com", "https://registry.example.com with credentials",
			"https://10.0.0.9:5000", "https://10.0.0.9:5000 with credentials",
		}},
	} {
		if diff := cmp.Diff(row.want, sent(row.change, row.answer)); diff != "" {
			t.Errorf("%s: requests (-want +got):\n%s", name, diff)
		}
	}

	mirror := map[string]string{"docker.io": "http://10.0.0.9:5000"}
	r := newResolver(t, source.Config{Mirrors: mirror, Credentials: all})
	_, err := r.Locate(t.Context(), "nginx")
	wantFault(t, err, "not sent without TLS")
	if _, err := source.New(source.Config{Mirrors: map[string]string{"docker.io": "http://u:sesame@10.0.0.9:5000"}}); err == nil {
		t.Error("a mirror with a password and without TLS was accepted")
	} else {
		wantNoSecret(t, err)
	}
}

// A registry whose certificate nobody vouches for gets nothing, least of all a password; one that the
// machine trusts is spoken to as usual.
func TestCertificates(t *testing.T) {
	var seen atomic.Int32
	f := newForeign(t, nil)
	digest := f.push(t, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		f.app.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.StartTLS()
	defer srv.Close()
	mirrors := map[string]string{"registry.example.com": srv.URL}
	_, err := newResolver(t, source.Config{Mirrors: mirrors}).Resolve(t.Context(), scopeOf(alice), "registry.example.com/web:v1")
	wantFault(t, err, "is not valid: x509: certificate signed by unknown authority.")
	if n := seen.Load(); n != 0 {
		t.Errorf("%d requests were made", n)
	}
	trusting := newResolver(t, source.Config{Mirrors: mirrors, Transport: srv.Client().Transport})
	got, err := trusting.Resolve(t.Context(), scopeOf(alice), "registry.example.com/web:v1")
	if err != nil || got.Reference != "registry.example.com/web@"+digest {
		t.Errorf("got %v, %v", got, err)
	}
}
