package registry_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestAccountsNeverMeet(t *testing.T) {
	s := start(t, t.TempDir())
	img := randomImage(t, 2048, 2)
	if err := remote.Write(s.ref(t, "web:v1"), img, options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	reg, err := name.NewRegistry(s.host)
	if err != nil {
		t.Fatal(err)
	}
	repos, err := remote.Catalog(t.Context(), reg, options(t, asBob())...)
	if err != nil || len(repos) != 0 {
		t.Errorf("bob's catalog: %v, %v", repos, err)
	}
	for _, ref := range []string{"web:v1", alice + "/web:v1", "web@" + digestOf(t, img)} {
		_, err := remote.Head(s.ref(t, ref), options(t, asBob())...)
		wantStatus(t, err, http.StatusNotFound)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer := digestOf(t, layers[0])

	// Neither a blob nor a mount gives away that another account has the content.
	c := client{t, s, asBob()}
	if got := c.do("HEAD", "/v2/web/blobs/"+layer, nil, nil); got.StatusCode != http.StatusNotFound {
		t.Errorf("blob of another account: %s", got.Status)
	}
	for _, from := range []string{"web", alice + "/web", "../" + alice + "/web"} {
		got := c.do("POST", "/v2/mine/blobs/uploads/?mount="+layer+"&from="+from, nil, nil)
		if got.StatusCode != http.StatusAccepted {
			t.Errorf("mount from %s: %s", from, got.Status)
		}
	}
	// An upload begun by one account is unknown to the other.
	loc := client{t, s, asAlice()}.do("POST", "/v2/web/blobs/uploads/", nil, nil).Header.Get("Location")
	if got := c.do("PATCH", loc, strings.NewReader("x"), nil); got.StatusCode != http.StatusNotFound {
		t.Errorf("upload of another account: %s", got.Status)
	}
	// The same name is another repository.
	other := randomImage(t, 100, 1)
	if err := remote.Write(s.ref(t, "web:v1"), other, options(t, asBob())...); err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(s.ref(t, "web:v1"), options(t, asAlice())...)
	if err != nil || d.Digest.String() != digestOf(t, img) {
		t.Errorf("alice's image is now %v, %v", d, err)
	}
}

func TestMountAcrossRepositories(t *testing.T) {
	s := start(t, t.TempDir())
	img := randomImage(t, 2048, 1)
	if err := remote.Write(s.ref(t, "base:v1"), img, options(t, asAlice())...); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	layer := digestOf(t, layers[0])
	c := client{t, s, asAlice()}
	got := c.do("POST", "/v2/web/blobs/uploads/?mount="+layer+"&from=base", nil, nil)
	if want := "/v2/web/blobs/" + layer; got.StatusCode != http.StatusCreated || got.Header.Get("Location") != want {
		t.Errorf("mount: %s, Location %s, want 201 at %s", got.Status, got.Header.Get("Location"), want)
	}
	if got := c.do("HEAD", "/v2/web/blobs/"+layer, nil, nil); got.StatusCode != http.StatusOK {
		t.Errorf("mounted blob: %s", got.Status)
	}
}

func TestWrongCredentials(t *testing.T) {
	s := start(t, t.TempDir())
	for _, auth := range []authn.Authenticator{
		authn.Anonymous,
		&authn.Basic{Username: "AKIAALICE", Password: "wrong"},
		&authn.Basic{Username: "AKIAALICE", Password: ""},
		&authn.Basic{Username: "AKIANOBODY", Password: "alice-secret"},
		&authn.Basic{Username: "AWS", Password: "not base64"},
		&authn.Basic{Username: "AWS", Password: token("AKIAALICE")},
		&authn.Basic{Username: "AWS", Password: token("AKIAALICE:wrong")},
	} {
		err := remote.Write(s.ref(t, "web:v1"), randomImage(t, 10, 1), options(t, auth)...)
		wantStatus(t, err, http.StatusUnauthorized)
	}
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 1 { // the secret
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func token(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestTokenLogin(t *testing.T) {
	s := start(t, t.TempDir())
	for _, tok := range []string{"AKIAALICE:alice-secret", "AKIABOB:bob:secret"} {
		auth := &authn.Basic{Username: "AWS", Password: token(tok)}
		if err := remote.Write(s.ref(t, "web:v1"), randomImage(t, 10, 1), options(t, auth)...); err != nil {
			t.Errorf("%s: %v", tok, err)
		}
	}
}
