package builder

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"apron"
)

// Labels of the records of base images.
const (
	labelBase    = "apron.build.base" // the language
	labelRole    = "apron.build.role"
	labelVersion = "apron.build.version"
	labelOrigin  = "apron.build.origin"
)

// The roles of base images.
const (
	roleRun   = "run"   // what applications run in
	roleBuild = "build" // what they are built in: the same and more
)

// baseImages are the two images that builds of a runtime start from. They may be the same.
type baseImages struct {
	build, run string // names in the store
	config     ocispec.ImageConfig
	version    string   // of the language, full
	origin     string   // where it came from, in words
	notes      []string // for the deployment log
}

// base finds or makes the images for a runtime in a version.
func (b *Builder) base(ctx context.Context, m managed, version string, log func(string)) (baseImages, error) {
	prefixes, err := m.wanted(version)
	if err != nil {
		return baseImages{}, err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return baseImages{}, err
	}
	defer unlock()
	if got, ok, err := b.imported(ctx, m, prefixes); ok || err != nil {
		return got, err
	}
	if got, ok := b.official(ctx, m, prefixes, func() bool { return b.made(ctx, m, prefixes) }, log); ok {
		return got, nil
	}
	c, note, err := b.catalog(ctx, m.language)
	if err != nil {
		return baseImages{}, err
	}
	chosen, substituted, err := b.choose(m, c, prefixes)
	if err != nil {
		return baseImages{}, err
	}
	got, err := b.assemble(ctx, m.language, c, chosen, log)
	if err != nil {
		return baseImages{}, err
	}
	for _, n := range []string{note, substituted} {
		if n != "" {
			got.notes = append(got.notes, n)
		}
	}
	return got, nil
}

// choose picks the version to use: the newest that matches or, where the operator allows it, what comes
// nearest.
func (b *Builder) choose(m managed, c catalog, prefixes []string) (version, note string, err error) {
	if v := match(c.Versions, prefixes); v != "" {
		return v, "", nil
	}
	if v := nearest(c.Versions, prefixes[0]); v != "" && b.cfg.Substitute {
		return v, fmt.Sprintf("%s %s is not on offer here; %s is used in its place.", m.language, prefixes[0], v), nil
	}
	return "", "", apron.Faultf(apron.Invalid, "%s %s %s is not on offer here; %s.", unsupported, m.language, prefixes[0], onOffer(c.Versions))
}

// onOffer lists versions, newest first, one for each major.
func onOffer(versions []string) string {
	newest := map[string]string{}
	for _, v := range versions {
		major, _, _ := strings.Cut(v, ".")
		if compareVersions(v, newest[major]) > 0 {
			newest[major] = v
		}
	}
	if len(newest) == 0 {
		return "no version of it is"
	}
	all := slices.SortedFunc(maps.Values(newest), func(a, b string) int { return compareVersions(b, a) })
	return "there is " + strings.Join(all[:min(len(all), 8)], ", ")
}

// assemble makes the images of a version from packages, as far as the store does not have them.
func (b *Builder) assemble(ctx context.Context, l language, c catalog, version string, log func(string)) (baseImages, error) {
	trusted := authorities()
	parts := b.parts(l, c, version, trusted)
	got := baseImages{version: version, origin: origin(l, c, version), config: assembledConfig(l)}
	got.run, got.build = baseName(l, version, roleRun, parts[:2]), baseName(l, version, roleBuild, parts)
	if b.present(ctx, got.run) && b.present(ctx, got.build) {
		return got, nil
	}
	log(fmt.Sprintf("Making the base image of %s %s from %s; this is done once.", l, version, got.origin))
	ctx, release, err := b.store.lease(ctx)
	if err != nil {
		return baseImages{}, err
	}
	defer release()
	layers := make([]layer, len(parts))
	group, gctx := errgroup.WithContext(ctx)
	for i, p := range parts {
		group.Go(func() (err error) {
			layers[i], err = b.makeLayer(gctx, p, trusted)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return baseImages{}, err
	}
	labels := map[string]string{labelBase: string(l), labelVersion: version, labelOrigin: got.origin}
	for role, name := range map[string]string{roleRun: got.run, roleBuild: got.build} {
		n := len(layers)
		if role == roleRun {
			n = 2
		}
		labels := maps.Clone(labels)
		labels[labelRole] = role
		if err := b.store.writeImage(ctx, name, got.config, layers[:n], labels); err != nil {
			return baseImages{}, err
		}
	}
	b.sweepPackages()
	return got, nil
}

// made reports whether the images for a runtime are made from packages already.
func (b *Builder) made(ctx context.Context, m managed, prefixes []string) bool {
	c, err := b.noted(m.language)
	if err != nil {
		return false
	}
	v, _, err := b.choose(m, c, prefixes)
	return err == nil && b.assembled(ctx, m.language, c, v)
}

// assembled reports whether the store has the images of a version, made from packages.
func (b *Builder) assembled(ctx context.Context, l language, c catalog, version string) bool {
	parts := b.parts(l, c, version, authorities())
	return b.present(ctx, baseName(l, version, roleBuild, parts)) && b.present(ctx, baseName(l, version, roleRun, parts[:2]))
}

// present reports whether the store has an image, whole.
func (b *Builder) present(ctx context.Context, name string) bool {
	record, err := b.store.client.ImageService().Get(ctx, name)
	return err == nil && b.store.whole(ctx, record)
}

// baseName names an image by what it is made from.
func baseName(l language, version, role string, parts []part) string {
	keys := make([]string, 0, len(parts))
	for _, p := range parts {
		keys = append(keys, p.key())
	}
	key := part{name: role, from: keys}.key()
	return fmt.Sprintf("%sbase/%s:%s-%s-%s", imageHost, l, version, role, key[:16])
}

func origin(l language, c catalog, version string) string {
	if _, ok := c.Node[version]; ok && l == langNode {
		return "Node's own release and Debian packages"
	}
	if l == langGo && version == c.Go.Version {
		return "this machine's Go toolchain and Debian packages"
	}
	return "Debian packages"
}

// assembledConfig is the configuration of images made from packages.
func assembledConfig(l language) ocispec.ImageConfig {
	return ocispec.ImageConfig{Env: append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8",
	}, recipes()[l].env...)}
}
