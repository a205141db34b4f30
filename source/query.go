package source

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
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
	mediaType, content, dgst, err := q.manifest(ctx, reference)
	if err != nil {
		return "", err
	}
	found, err := q.platforms(ctx, mediaType, content)
	if err != nil {
		return "", err
	}
	return dgst, found.check(q.ref)
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

// parseManifest reads a manifest. The media type of the response decides what it is, and its own
// only when the response has none of use, as of a plain file server.
func parseManifest(mediaType string, content []byte) (manifest, int, error) {
	var m manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return manifest{}, otherManifest, fmt.Errorf("read manifest: %w", err)
	}
	kind := manifestKind(mediaType)
	if kind == otherManifest && !strings.HasPrefix(mediaType, "application/vnd.") {
		kind = manifestKind(m.MediaType)
	}
	if kind == otherManifest {
		return manifest{}, kind, fmt.Errorf("media type %q", printable(mediaType))
	}
	return m, kind, nil
}

// platforms returns what platforms the image or index is for.
func (q *query) platforms(ctx context.Context, mediaType string, content []byte) (platformSet, error) {
	m, kind, err := parseManifest(mediaType, content)
	if err != nil {
		return nil, notImage(q.ref, err)
	}
	if kind == imageIndex {
		return q.indexPlatforms(ctx, m)
	}
	raw, err := q.config(ctx, m.Config.Digest, m.Config.Size)
	if err != nil {
		return nil, err
	}
	return configPlatform(raw), nil
}

// indexPlatforms looks at the platforms an index names, and into those of its parts for which it
// names none.
func (q *query) indexPlatforms(ctx context.Context, m manifest) (platformSet, error) {
	found := platformSet{}
	var unnamed []part
	for _, p := range m.Manifests {
		switch {
		case p.Platform != nil && p.Platform.Architecture != "":
			found.add(p.Platform.OS, p.Platform.Architecture)
		case manifestKind(p.MediaType) != otherManifest && len(unnamed) < maxManifests:
			unnamed = append(unnamed, p)
		}
	}
	for _, p := range unnamed {
		if found.usable() || q.budget == 0 {
			break
		}
		q.budget--
		mediaType, content, err := q.Manifest(ctx, p.Digest)
		if err != nil {
			return nil, err
		}
		more, err := q.platforms(ctx, mediaType, content)
		if err != nil {
			return nil, err
		}
		found.merge(more)
	}
	return found, nil
}
