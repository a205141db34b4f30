package source

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// maxManifests is how many manifests of an index are looked into for their platform.
const maxManifests = 16

// query finds out what one image is, manifest by manifest.
type query struct {
	*Repository
	budget int // manifests that may still be fetched
}

// resolve returns the digest the reference means, once it is sure that it runs here.
func (q *query) resolve(ctx context.Context) (string, error) {
	reference := q.ref.Tag
	if q.ref.Digest != "" {
		reference = q.ref.Digest
	}
	top, dgst, err := q.manifest(ctx, reference)
	if err != nil {
		return "", err
	}
	found, _, err := q.choose(ctx, top, false)
	if err != nil {
		return "", err
	}
	return dgst, found.check(q.ref)
}

// image returns the manifest that runs here of the image or index with a digest.
func (q *query) image(ctx context.Context, dgst string) (document, error) {
	top, _, err := q.manifest(ctx, dgst)
	if err != nil {
		return document{}, err
	}
	if _, kind, err := top.parse(); err == nil && kind == imageManifest {
		return top, nil // says what it is for in its configuration, which whoever pulls it reads
	}
	found, chosen, err := q.choose(ctx, top, true)
	if err != nil {
		return document{}, err
	}
	if err := found.check(q.ref); err != nil {
		return document{}, err
	}
	return chosen, nil
}

// document is a manifest as a registry delivers it.
type document struct {
	mediaType string
	content   []byte
}

// manifest is what this package reads of an image manifest or an index, of the OCI's or docker's
// form: they differ in their media types alone.
type manifest struct {
	MediaType string `json:"mediaType"`
	Config    struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	} `json:"config"`
	Manifests []part `json:"manifests"`
}

// part is one entry of an index.
type part struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Platform  *struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

// kinds of manifest.
const (
	otherManifest = iota
	imageManifest
	imageIndex
)

func manifestKind(mediaType string) int {
	switch mediaType {
	case "application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json":
		return imageIndex
	case "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json":
		return imageManifest
	default:
		return otherManifest
	}
}

// parse reads a manifest. The media type of the response decides what it is, and its own only when
// the response has none of use, as of a plain file server.
func (d document) parse() (manifest, int, error) {
	var m manifest
	if err := json.Unmarshal(d.content, &m); err != nil {
		return manifest{}, otherManifest, fmt.Errorf("read manifest: %w", err)
	}
	kind := manifestKind(d.mediaType)
	if kind == otherManifest && !strings.HasPrefix(d.mediaType, "application/vnd.") {
		kind = manifestKind(m.MediaType)
	}
	if kind == otherManifest {
		return manifest{}, kind, fmt.Errorf("media type %q", printable(d.mediaType))
	}
	return m, kind, nil
}

// choose returns what platforms an image or index is for and, with fetch, the manifest of the one
// that runs here if there is one.
func (q *query) choose(ctx context.Context, d document, fetch bool) (platformSet, document, error) {
	m, kind, err := d.parse()
	if err != nil {
		return nil, document{}, notImage(q.ref, err)
	}
	if kind == imageIndex {
		return q.chooseIn(ctx, m, fetch)
	}
	raw, err := q.config(ctx, m.Config.Digest, m.Config.Size)
	if err != nil {
		return nil, document{}, err
	}
	return configPlatform(raw), d, nil
}

// chooseIn does so for an index: it goes by the platforms the index names, and looks into the parts
// for which it names none only if none of those runs here. The first that runs is the one.
func (q *query) chooseIn(ctx context.Context, m manifest, fetch bool) (platformSet, document, error) {
	found := platformSet{}
	var unnamed []part
	for _, p := range m.Manifests {
		switch {
		case p.Platform != nil && p.Platform.Architecture != "":
			before := found.usable()
			found.add(p.Platform.OS, p.Platform.Architecture)
			if fetch && found.usable() && !before {
				chosen, err := q.named(ctx, p.Digest)
				return found, chosen, err
			}
		case manifestKind(p.MediaType) != otherManifest && len(unnamed) < maxManifests:
			unnamed = append(unnamed, p)
		}
	}
	for _, p := range unnamed {
		if found.usable() || q.budget == 0 {
			break
		}
		inner, err := q.part(ctx, p.Digest)
		if err != nil {
			return nil, document{}, err
		}
		more, chosen, err := q.choose(ctx, inner, fetch)
		if err != nil {
			return nil, document{}, err
		}
		if found.merge(more); found.usable() {
			return found, chosen, nil
		}
	}
	return found, document{}, nil
}

// named fetches a part that an index says is the one. It may be an index again.
func (q *query) named(ctx context.Context, dgst string) (document, error) {
	inner, err := q.part(ctx, dgst)
	if err != nil {
		return document{}, err
	}
	m, kind, err := inner.parse()
	if err != nil {
		return document{}, notImage(q.ref, err)
	}
	if kind == imageManifest {
		return inner, nil
	}
	found, chosen, err := q.chooseIn(ctx, m, true)
	if err != nil {
		return document{}, err
	}
	return chosen, found.check(q.ref)
}

// part fetches a part of an index, as long as there have not been too many.
func (q *query) part(ctx context.Context, dgst string) (document, error) {
	if q.budget == 0 || digest.Digest(dgst).Validate() != nil {
		return document{}, notImage(q.ref, nil)
	}
	q.budget--
	inner, _, err := q.manifest(ctx, dgst)
	return inner, err
}
