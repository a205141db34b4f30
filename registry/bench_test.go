package registry_test

import (
	"crypto/rand"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// BenchmarkHead is what resolving a tag costs the server, on a kept connection.
func BenchmarkHead(b *testing.B) {
	s := start(b, b.TempDir())
	ref := s.ref(b, "web:v1")
	if err := remote.Write(ref, randomImage(b, 1024, 1), options(b, asAlice())...); err != nil {
		b.Fatal(err)
	}
	puller, err := remote.NewPuller(options(b, asAlice())...)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := puller.Head(b.Context(), ref); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPush uploads a new layer of 16 MiB, its digest computed beforehand, to disk.
func BenchmarkPush(b *testing.B) {
	s := start(b, b.TempDir())
	content := make([]byte, 16<<20)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		b.StopTimer()
		if _, err := rand.Read(content[:32]); err != nil {
			b.Fatal(err)
		}
		img, err := mutate.AppendLayers(empty.Image, static.NewLayer(content, types.OCIUncompressedLayer))
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := remote.Write(s.ref(b, "web:v1"), img, options(b, asAlice())...); err != nil {
			b.Fatal(err)
		}
	}
}
