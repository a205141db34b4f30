package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// catalogAge is how long what a source offers is taken for current. Looking costs seconds, and nobody
// waits for a security update from one minute to the next.
const catalogAge = 24 * time.Hour

// catalog is what this machine can make base images of a language from, and which packages they would
// have. It is kept in a file, so that a restarted server knows without asking.
type catalog struct {
	At       time.Time // when the sources were asked
	Versions []string  // on offer, full; any order
	OS       []pkg     // packages of the operating system layer
	Language []pkg     // of the language's
	Tools    []pkg     // of the build tools'
	Node     map[string]npmVersion
	Go       hostGo                           // this machine's, for Go
	NodeWith map[string]map[string]npmVersion // package managers, by their names and versions
}

// pkgJSON is a pkg in a file.
type pkgJSON struct{ Name, Version, File, Hash string }

// MarshalJSON implements json.Marshaler.
func (p pkg) MarshalJSON() ([]byte, error) {
	return json.Marshal(pkgJSON{p.name, p.version, p.file, p.hash})
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *pkg) UnmarshalJSON(b []byte) error {
	var j pkgJSON
	err := json.Unmarshal(b, &j)
	p.name, p.version, p.file, p.hash = j.Name, j.Version, j.File, j.Hash
	return err
}

func (b *Builder) catalogFile(l language) string {
	return filepath.Join(b.cfg.Dir, "catalog", string(l)+".json")
}

// catalog returns what is on offer for a language: as noted, or as the sources say now. With a source
// out of reach an old note has to do, and note says so.
func (b *Builder) catalog(ctx context.Context, l language) (c catalog, note string, err error) {
	old, err := b.noted(l)
	if err == nil && b.cfg.Now().Sub(old.At) < catalogAge {
		return old, "", nil
	}
	c, asked := b.ask(ctx, l)
	if asked != nil && ctx.Err() == nil && err == nil {
		return old, fmt.Sprintf("What runtimes are on offer could not be looked up anew, so what was known on %s is used (%v).",
			old.At.UTC().Format(time.DateOnly), asked), nil
	}
	if asked != nil {
		return catalog{}, "", asked
	}
	return c, "", b.note(l, c)
}

// noted reads the note of an earlier look.
func (b *Builder) noted(l language) (catalog, error) {
	raw, err := os.ReadFile(b.catalogFile(l))
	if err != nil {
		return catalog{}, fmt.Errorf("read what is on offer: %w", err)
	}
	var c catalog
	if err := json.Unmarshal(raw, &c); err != nil {
		return catalog{}, fmt.Errorf("read what is on offer: %w", err)
	}
	return c, nil
}

func (b *Builder) note(l language, c catalog) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("note what is on offer: %w", err)
	}
	name := b.catalogFile(l)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return fmt.Errorf("note what is on offer: %w", err)
	}
	if err := errors.Join(os.WriteFile(name+".new", raw, 0o600), os.Rename(name+".new", name)); err != nil {
		return fmt.Errorf("note what is on offer: %w", err)
	}
	return nil
}

// ask asks the package sources.
func (b *Builder) ask(ctx context.Context, l language) (catalog, error) {
	r, ok := recipes()[l]
	if !ok {
		return catalog{At: b.cfg.Now()}, nil // nothing here makes it
	}
	if !b.debian.available() {
		return catalog{}, errors.New("base images are made from Debian packages, and this machine has no apt-get and dpkg-deb")
	}
	c := catalog{At: b.cfg.Now()}
	if l == langNode {
		if err := b.askNode(ctx, &c); err != nil {
			b.cfg.Log.Warn("Node's releases cannot be looked up", "err", err)
			r.primary, r.packages = "nodejs", append(r.packages, "nodejs", "npm") // the distribution's
			c.Node, c.NodeWith = nil, nil
		}
	}
	if l == langGo {
		if c.Go = findGo(ctx); c.Go.Version != "" {
			c.Versions = append(c.Versions, c.Go.Version)
		}
	}
	if err := b.askPackages(ctx, r, &c); err != nil {
		return catalog{}, err
	}
	for _, v := range c.Node {
		c.Versions = append(c.Versions, v.Version)
	}
	for _, p := range c.Language {
		if r.primary != "" && p.name == r.primary {
			c.Versions = append(c.Versions, p.upstream())
		}
	}
	if len(c.Versions) == 0 {
		return catalog{}, fmt.Errorf("find %s: no source has it", l)
	}
	return c, nil
}

// askPackages has apt choose the packages of the three layers.
func (b *Builder) askPackages(ctx context.Context, r recipe, c *catalog) error {
	os, err := b.debian.resolve(ctx, osPackages()...)
	if err != nil {
		return err
	}
	c.OS = slices.DeleteFunc(os, func(p pkg) bool { return slices.Contains(scriptsOnly(), p.name) })
	var language, tools []pkg
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		language, err = b.debian.resolve(ctx, append(osPackages(), r.packages...)...)
		return err
	})
	group.Go(func() (err error) {
		tools, err = b.debian.resolve(ctx, slices.Concat(osPackages(), r.packages, buildTools(), r.tools)...)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	c.Language = without(language, c.OS, scriptsOnly())
	c.Tools = without(tools, slices.Concat(c.OS, c.Language), dispensable())
	return nil
}

func without(all, those []pkg, names []string) []pkg {
	return slices.DeleteFunc(all, func(p pkg) bool {
		return slices.Contains(names, p.name) || slices.ContainsFunc(those, func(o pkg) bool { return o.name == p.name })
	})
}

// askNode looks up Node's releases and the package managers that go with them.
func (b *Builder) askNode(ctx context.Context, c *catalog) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	registry, err := b.npm(ctx)
	if err != nil {
		return err
	}
	if c.Node, err = registry.versions(ctx, nodePackage()); err != nil {
		return err
	}
	c.NodeWith = map[string]map[string]npmVersion{}
	for _, tool := range []string{"npm", "yarn", "pnpm"} {
		all, err := registry.versions(ctx, tool)
		if err != nil {
			return err
		}
		c.NodeWith[tool] = map[string]npmVersion{}
		for _, major := range []int{12, 16, 18, 24} {
			if want := nodeTools(major)[tool]; want != "" {
				v := match(slices.Collect(maps.Keys(all)), []string{want})
				if v == "" {
					return fmt.Errorf("find %s %s: the npm registry does not have it", tool, want)
				}
				c.NodeWith[tool][want] = all[v]
			}
		}
	}
	return nil
}

// nodeTools returns the package managers for a version of Node.
func (c catalog) nodeTools(version string) map[string]npmVersion {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		n = 0
	}
	with := map[string]npmVersion{}
	for tool, want := range nodeTools(n) {
		with[tool] = c.NodeWith[tool][want]
	}
	return with
}
