package builder

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"

	"apron"
)

// How long a registry may take to bring an image, and how long one that did not is left alone.
const (
	officialPatience = 5 * time.Minute // the images are large
	officialPause    = 10 * time.Minute
)

// tags returns the names, below the registry's path, of the official images for a version prefix: what
// applications are built in, and what they run in.
func (m managed) tags(version string) (build, run string, ok bool) {
	switch m.language {
	case langNode:
		return "node:" + version + "-bookworm", "node:" + version + "-bookworm-slim", true
	case langPython:
		return "python:" + version + "-bookworm", "python:" + version + "-slim-bookworm", true
	case langRuby:
		return "ruby:" + version + "-bookworm", "ruby:" + version + "-bookworm", true
	case langGo:
		return "golang:" + version + "-bookworm", "golang:" + version + "-bookworm", true
	case langJava:
		major, _, _ := strings.Cut(version, ".")
		return "maven:3.9-amazoncorretto-" + major, "maven:3.9-amazoncorretto-" + major, true
	case langPHP:
		return "php:" + version + "-apache-bookworm", "php:" + version + "-apache-bookworm", true
	case langDotnet:
		return "", "", false
	default:
		return "", "", false
	}
}

// versionVariables are where official images say which version they have.
func versionVariables() []string {
	return []string{"NODE_VERSION", "PYTHON_VERSION", "RUBY_VERSION", "GOLANG_VERSION", "PHP_VERSION", "JAVA_VERSION"}
}

// official fetches the images of the language's makers, where a registry has them. Not having them is
// no failure: others are made from packages. Where the registry was out of reach before and others are
// made already, nobody waits for it to be tried again: if it is there by now, the next build has them.
func (b *Builder) official(ctx context.Context, m managed, prefixes []string, made func() bool, log func(string)) (baseImages, bool) {
	if b.cfg.Fetch == nil || b.cfg.Official == "" {
		return baseImages{}, false
	}
	for _, prefix := range prefixes {
		build, run, ok := m.tags(prefix)
		at, before := b.unreached.since(b.officialName(build))
		if !ok || before && b.cfg.Now().Sub(at) < officialPause {
			continue
		}
		if before && made() {
			b.lookAgain(prefix, build, run)
			continue
		}
		got, err := b.fetchOfficial(ctx, prefix, build, run)
		if err == nil {
			return got, true
		}
		if ctx.Err() != nil {
			return baseImages{}, false
		}
		log("The official image " + build + " is out of reach; looking for the runtime elsewhere.")
	}
	return baseImages{}, false
}

// lookAgain has the images fetched while nobody waits. Until that has failed again, nobody else tries.
func (b *Builder) lookAgain(prefix, build, run string) {
	b.noteUnreached(build)
	b.looks.Go(func() { _, _ = b.fetchOfficial(b.alive, prefix, build, run) }) // it notes what came of it
}

// officialName is where an official image is.
func (b *Builder) officialName(tag string) string {
	return strings.TrimSuffix(b.cfg.Official, "/") + "/" + tag
}

func (b *Builder) noteUnreached(tag string) {
	if err := b.unreached.note(b.officialName(tag), b.cfg.Now()); err != nil {
		b.cfg.Log.Warn("the next start asks for an official image again", "image", tag, "err", err)
	}
}

// fetchOfficial fetches the official images, and notes whether they were in reach.
func (b *Builder) fetchOfficial(ctx context.Context, prefix, build, run string) (got baseImages, err error) {
	limited, cancel := context.WithTimeout(ctx, officialPatience)
	defer cancel()
	if got.build, err = b.cfg.Fetch(limited, apron.Scope{}, b.officialName(build)); err == nil {
		got.run, err = b.cfg.Fetch(limited, apron.Scope{}, b.officialName(run))
	}
	if err != nil {
		if ctx.Err() == nil {
			b.cfg.Log.Info("official image is out of reach", "image", build, "err", err)
			b.noteUnreached(build)
		}
		return baseImages{}, err
	}
	if err := b.unreached.forget(b.officialName(build)); err != nil {
		b.cfg.Log.Warn("an official image is still taken to be out of reach", "image", build, "err", err)
	}
	config, err := b.store.config(ctx, got.run)
	if err != nil {
		return baseImages{}, err
	}
	got.config, got.origin, got.version = config.Config, "the official image "+b.officialName(build), prefix
	for _, env := range config.Config.Env {
		if k, v, ok := strings.Cut(env, "="); ok && slices.Contains(versionVariables(), k) {
			got.version = strings.TrimPrefix(v, "v")
		}
	}
	return got, nil
}

// labelImported marks base images an operator brought.
const labelImported = "apron.build.imported"

// imported returns an image that an operator brought for the language in the version.
func (b *Builder) imported(ctx context.Context, m managed, prefixes []string) (baseImages, bool, error) {
	all, err := b.store.client.ImageService().List(ctx, fmt.Sprintf("labels.%q==%s", labelImported, m.language))
	if err != nil {
		return baseImages{}, false, fmt.Errorf("list imported base images: %w", err)
	}
	byVersion := map[string]images.Image{}
	for _, record := range all {
		byVersion[record.Labels[labelVersion]] = record
	}
	v := match(slices.Collect(maps.Keys(byVersion)), prefixes)
	record, ok := byVersion[v]
	if !ok || !b.store.whole(ctx, record) {
		return baseImages{}, false, nil
	}
	config, err := b.store.config(ctx, record.Name)
	if err != nil {
		return baseImages{}, false, err
	}
	return baseImages{
		build: record.Name, run: record.Name, config: config.Config, version: v,
		origin: "the imported image " + record.Labels[labelOrigin],
	}, true, nil
}
