package source_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"apron/source"
)

// BenchmarkGitFetch measures the fetch and export of a small change of a repository of 200 MB that does
// not compress, which is in the cache.
func BenchmarkGitFetch(b *testing.B) {
	repo := newRepository(b, b.TempDir())
	repo.git("config", "core.compression", "0")
	repo.git("config", "pack.window", "0")
	content := make([]byte, 2<<20)
	for i := range 100 {
		if _, err := rand.Read(content); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(repo.dir, fmt.Sprint("large", i)), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	repo.commit()
	g := newGit(b, nil)
	at := source.GitRepository{Account: alice, URL: repo.url(), Branch: "main"}
	fetch(b, g, at)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		repo.write(map[string]string{"small": fmt.Sprint(i)})
		to := b.TempDir()
		b.StartTimer()
		tree, err := g.Fetch(b.Context(), at)
		if err == nil {
			_, err = tree.Export(b.Context(), to)
			tree.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(to); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
