package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// recipeVersion changes when the same packages make another layer than before.
const recipeVersion = "4"

// hostAuthorities is where Debian and its like keep the certificate authorities the machine trusts,
// an operator's own included.
const hostAuthorities = "/etc/ssl/certs/ca-certificates.crt"

// part is a layer to be made: a name, what it is made from, and how.
type part struct {
	name     string
	packages []pkg
	finish   func(*tree, *found) error
	more     func(context.Context, *tree) error // what is no package; nil: nothing
	from     []string                           // what more and finish use, for the key
}

// key identifies a layer by everything that goes into it.
func (p part) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", recipeVersion, p.name)
	for _, pkg := range p.packages {
		fmt.Fprintln(h, pkg)
	}
	for _, s := range p.from {
		fmt.Fprintln(h, s)
	}
	return hex.EncodeToString(h.Sum(nil))[:40]
}

// makeLayer makes a part's layer, unless the store has it.
func (b *Builder) makeLayer(ctx context.Context, p part, authorities []byte) (layer, error) {
	key := p.key()
	if l, ok, err := b.store.findLayer(ctx, key); ok || err != nil {
		return l, err
	}
	l, err := b.store.writeLayer(ctx, key, func(w io.Writer) error {
		t := newTree(w)
		f := &found{kept: map[string][]byte{}, authorities: authorities}
		if err := b.unpackAll(ctx, t, p.packages, f); err != nil {
			return err
		}
		if p.more != nil {
			if err := p.more(ctx, t); err != nil {
				return err
			}
		}
		if p.finish != nil {
			if err := p.finish(t, f); err != nil {
				return err
			}
		}
		return t.close()
	})
	if err != nil {
		return layer{}, fmt.Errorf("make layer %s: %w", p.name, err)
	}
	return l, nil
}

// packageBatch is how many packages are fetched at a time, while those before them are unpacked.
const packageBatch = 16

// unpackAll fetches packages and adds what they contain, in their order.
func (b *Builder) unpackAll(ctx context.Context, t *tree, packages []pkg, f *found) error {
	fetched := make(chan []pkg, 1+len(packages)/packageBatch)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(fetched)
		for batch := range slices.Chunk(packages, packageBatch) {
			if err := b.debian.download(ctx, batch); err != nil {
				return fmt.Errorf("fetch packages: %w", err)
			}
			fetched <- batch
		}
		return nil
	})
	group.Go(func() error {
		for batch := range fetched {
			for _, p := range batch {
				if err := t.unpack(ctx, filepath.Join(b.debian.keep, p.file), f.keep); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return group.Wait()
}

// parts returns the layers of a language's images: the first two make the image applications run in,
// all three the one they are built in.
func (b *Builder) parts(l language, c catalog, version string, authorities []byte) []part {
	r := recipes()[l]
	sum := sha256.Sum256(authorities)
	trusted := hex.EncodeToString(sum[:])
	lang := part{name: string(l), packages: c.Language, finish: r.finish, from: []string{trusted}}
	if node, ok := c.Node[version]; ok && l == langNode {
		tools := c.nodeTools(version)
		lang.from = append(lang.from, node.Dist.Integrity)
		for _, name := range []string{"npm", "yarn", "pnpm"} {
			lang.from = append(lang.from, tools[name].Dist.Integrity)
		}
		lang.more = func(ctx context.Context, t *tree) error {
			registry, err := b.npm(ctx)
			if err != nil {
				return err
			}
			return registry.nodeTree(ctx, t, node, tools)
		}
	}
	if l == langGo && version == c.Go.Version {
		lang.packages, lang.from, lang.more = nil, []string{c.Go.Version}, c.Go.goTree
	}
	return []part{
		{name: "os", packages: c.OS, finish: finishOS, from: []string{trusted}},
		lang,
		{name: "tools", packages: c.Tools, finish: finishTools},
	}
}

// finishTools does what update-alternatives does for compilers.
func finishTools(t *tree, _ *found) error {
	var errs errorList
	errs.add(t.link("usr/bin/cc", "gcc"))
	errs.add(t.link("usr/bin/c++", "g++"))
	return errs.err()
}

// authorities returns what this machine trusts, or nothing when it keeps that elsewhere.
func authorities() []byte {
	b, err := os.ReadFile(hostAuthorities)
	if err != nil {
		return nil
	}
	return b
}

// sweepPackages removes packages that were downloaded for layers which are made now.
func (b *Builder) sweepPackages() {
	if b.cfg.Packages != "" {
		return // somebody else's, who keeps them
	}
	entries, err := os.ReadDir(b.debian.keep)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".deb") || strings.HasPrefix(e.Name(), "new-") {
			_ = os.RemoveAll(filepath.Join(b.debian.keep, e.Name())) // the next sweep sees it again
		}
	}
}
