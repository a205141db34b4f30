package builder_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/builder"
)

func offerOf(t testing.TB, b *builder.Builder, runtime string) builder.Offer {
	t.Helper()
	all, err := b.Offers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Runtime == runtime {
			return o
		}
	}
	t.Fatalf("no offer for %s in %+v", runtime, all)
	return builder.Offer{}
}

func TestOffers(t *testing.T) {
	r := needRig(t)
	if o := offerOf(t, r.builder, "nodejs22"); !strings.HasPrefix(o.Version, "22.") || o.Note != "" {
		t.Errorf("nodejs22: %+v", o)
	}
	if o := offerOf(t, r.builder, "python3"); !strings.HasPrefix(o.Version, "3.11.") || !strings.Contains(o.Note, "in its place") {
		t.Errorf("python3 is replaced by %+v", o)
	}
	if o := offerOf(t, r.builder, "dotnet6"); o.Version != "" || o.Note == "" {
		t.Errorf("dotnet6: %+v", o)
	}

	strict := r.config()
	strict.Substitute = false
	p := plan(t, "python3", map[string]string{"x": ""})
	_, err := r.another(t, strict).Build(t.Context(), p, func(string) {})
	if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "The specified runtime version is not supported.") ||
		!strings.Contains(err.Error(), "there is 3.11.") {
		t.Errorf("without substitutes: %v", err)
	}
}

// TestImport: an operator's image comes before any other source.
func TestImport(t *testing.T) {
	r := needRig(t)
	img, err := mutate.AppendLayers(empty.Image, static.NewLayer(emptyTar(t), types.DockerUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", "amd64", v1.Config{Env: []string{"PATH=/bin", "MINE=1"}}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("mine:latest")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := tarball.Write(tag, img, &archive); err != nil {
		t.Fatal(err)
	}
	if err := r.builder.Import(t.Context(), "dotnet6", "6.0.36", &archive, "mine.tar"); err != nil {
		t.Fatal(err)
	}
	if o := offerOf(t, r.builder, "dotnet6"); o.Version != "6.0.36" || !o.Ready || o.Origin != "the imported image mine.tar" {
		t.Errorf("dotnet6: %+v", o)
	}
	p := plan(t, "dotnet6", map[string]string{"x": ""})
	p.Command = "dotnet x.dll"
	if result, err := r.builder.Build(t.Context(), p, func(string) {}); err != nil || result.RuntimeVersion != "6.0.36" {
		t.Errorf("built %+v, %v", result, err)
	}
	for what, text := range map[string]string{"no archive": "nonsense", "nothing": ""} {
		err := r.builder.Import(t.Context(), "dotnet6", "6.0.1", strings.NewReader(text), "x")
		if apron.KindOf(err) != apron.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
}
