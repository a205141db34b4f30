package source_test

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/source"
)

func TestResolveNames(t *testing.T) {
	w := newWorld(t)
	digest := w.push(t, alice, "team/web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	_, port, _ := net.SplitHostPort(w.host)
	r := w.resolver(t, func(c *source.Config) { c.EmbeddedHosts = []string{"apron.example.com:4080"} })
	want := apron.Image{Reference: ecrHost + "/team/web@" + digest, Digest: digest}
	for _, name := range []string{
		ecrHost + "/team/web:v1", ecrHost + "/team/web@" + digest, ecrHost + "/team/web:nope@" + digest,
		w.host + "/team/web:v1", "localhost:" + port + "/team/web:v1", "apron.example.com:4080/team/web:v1",
	} {
		got, err := r.Resolve(t.Context(), scopeOf(alice), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Another region of the account is the same registry, under its own name.
	eu := alice + ".dkr.ecr.eu-west-1.amazonaws.com/team/web"
	if got, err := r.Resolve(t.Context(), scopeOf(alice), eu+":v1"); err != nil || got.Reference != eu+"@"+digest {
		t.Errorf("another region: %v, %v", got, err)
	}
	// The loopback name means the asking account's repository, in its own region.
	cn := apron.Scope{Account: alice, Region: "cn-north-1"}
	got, err := r.Resolve(t.Context(), cn, w.host+"/team/web:v1")
	if want := alice + ".dkr.ecr.cn-north-1.amazonaws.com.cn/team/web@" + digest; err != nil || got.Reference != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
}

func TestResolveAfterTheTagMoved(t *testing.T) {
	w := newWorld(t)
	r := w.resolver(t, nil)
	first := w.push(t, alice, "web:latest", image(t, "linux", "amd64", types.OCIManifestSchema1))
	before, err := r.Resolve(t.Context(), scopeOf(alice), ecrHost+"/web")
	if err != nil || before.Digest != first {
		t.Fatal(before, err)
	}
	second := w.push(t, alice, "web:latest", image(t, "linux", "amd64", types.DockerManifestSchema2))
	after, err := r.Resolve(t.Context(), scopeOf(alice), ecrHost+"/web")
	if err != nil || after.Digest != second {
		t.Errorf("after the push: %v, %v, want %s", after, err, second)
	}
	again, err := r.Resolve(t.Context(), scopeOf(alice), before.Reference)
	if err != nil || again != before {
		t.Errorf("the first image is now %v, %v", again, err)
	}
}

func TestResolveFaults(t *testing.T) {
	w := newWorld(t)
	w.push(t, alice, "web:v1", image(t, "linux", "amd64", types.OCIManifestSchema1))
	w.push(t, alice, "arm:v1", image(t, "linux", "arm64", types.OCIManifestSchema1))
	w.push(t, alice, "win:v1", image(t, "windows", "amd64", types.DockerManifestSchema2))
	w.push(t, alice, "chart:v1", image(t, "", "", types.OCIManifestSchema1))
	arm := image(t, "linux", "arm64", types.OCIManifestSchema1)
	w.push(t, alice, "arms:v1", index(part(arm, "linux/arm64"), part(image(t, "", "", types.OCIManifestSchema1), "unknown/unknown")))
	w.push(t, alice, "unnamed-arm:v1", index(part(arm, "")))
	w.push(t, alice, "empty:v1", index())
	r := w.resolver(t, nil)
	for name, want := range map[string]string{
		"not a name":                "Invalid image identifier: not a name",
		ecrHost + "/web:v2":         "The image " + ecrHost + "/web:v2 does not exist.",
		ecrHost + "/nope:v1":        "does not exist.",
		ecrHost + "/web@" + zeros:   "does not exist.",
		w.host + "/nope":            "The image " + ecrHost + "/nope:latest does not exist.",
		ecrHost + "/arm:v1":         "does not run on linux/amd64: it is made for linux/arm64.",
		ecrHost + "/win:v1":         "made for windows/amd64.",
		ecrHost + "/arms:v1":        "made for linux/arm64.",
		ecrHost + "/unnamed-arm:v1": "made for linux/arm64.",
		ecrHost + "/chart:v1":       "not a container image for linux/amd64",
		ecrHost + "/empty:v1":       "not a container image for linux/amd64",
		strings.ReplaceAll(ecrHost, alice, bob) + "/web:v1": "does not allow access",
	} {
		_, err := r.Resolve(t.Context(), scopeOf(alice), name)
		wantFault(t, err, want)
	}
	// Whose repository a name means depends on who asks.
	_, err := r.Resolve(t.Context(), scopeOf(bob), w.host+"/web:v1")
	wantFault(t, err, bob+".dkr.ecr.us-east-1.amazonaws.com/web:v1 does not exist.")

	w.password = "wrong"
	_, err = r.Resolve(t.Context(), scopeOf(alice), ecrHost+"/web:v1")
	wantFault(t, err, "does not allow access")
}

func TestResolveIndex(t *testing.T) {
	w := newWorld(t)
	amd, arm := image(t, "linux", "amd64", types.OCIManifestSchema1), image(t, "linux", "arm64", types.OCIManifestSchema1)
	r := w.resolver(t, nil)
	for name, idx := range map[string]v1.ImageIndex{
		"named":   index(part(arm, "linux/arm64"), part(amd, "linux/amd64")),
		"unnamed": index(part(arm, ""), part(amd, "")),
		"nested":  index(part(arm, "linux/arm64"), part(index(part(amd, "linux/amd64")), "")),
		"docker":  mutate.IndexMediaType(index(part(amd, "linux/amd64")), types.DockerManifestList),
	} {
		digest := w.push(t, alice, name+":v1", idx)
		got, err := r.Resolve(t.Context(), scopeOf(alice), ecrHost+"/"+name+":v1")
		if err != nil || got.Digest != digest {
			t.Errorf("%s: %v, %v, want the index %s", name, got, err, digest)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	w := newWorld(b)
	w.push(b, alice, "web:v1", image(b, "linux", "amd64", types.OCIManifestSchema1))
	r := w.resolver(b, nil)
	for b.Loop() {
		if _, err := r.Resolve(b.Context(), scopeOf(alice), ecrHost+"/web:v1"); err != nil {
			b.Fatal(err)
		}
	}
}
