package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
)

const (
	// maxConfigBytes is the largest image configuration that is read; real ones have kilobytes.
	maxConfigBytes = 8 << 20
	// maxManifests is how many manifests of an index are looked into for their platform.
	maxManifests = 16
)

// query is one conversation with a registry about one image.
type query struct {
	ref    Reference
	repo   name.Repository
	puller *remote.Puller
	budget int // manifests that may still be fetched
}

func newQuery(ref Reference, loc Location, rt http.RoundTripper) (*query, error) {
	repo, opts, err := loc.client(rt)
	if err != nil {
		return nil, err
	}
	// The caller decides about trying again: it knows whether anybody still waits.
	opts = append(opts, remote.WithRetryPredicate(func(error) bool { return false }), remote.WithRetryStatusCodes())
	puller, err := remote.NewPuller(opts...)
	if err != nil {
		return nil, err
	}
	return &query{ref: ref, repo: repo, puller: puller, budget: maxManifests}, nil
}

// client returns the repository in the terms of the client library, and how to speak to it.
func (l Location) client(rt http.RoundTripper) (name.Repository, []remote.Option, error) {
	var opts []name.Option
	if l.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(l.Host, opts...)
	if err != nil {
		return name.Repository{}, nil, err
	}
	auth := authn.Anonymous
	if l.User != "" {
		auth = &authn.Basic{Username: l.User, Password: l.Password}
	}
	return reg.Repo(l.Repository), []remote.Option{
		remote.WithAuth(auth), remote.WithTransport(&oneScheme{rt, l.Host, l.PlainHTTP}), remote.WithUserAgent("apron"),
	}, nil
}

// resolve returns the digest the reference means, once it is sure that it runs here.
func (q *query) resolve(ctx context.Context) (string, error) {
	var ref name.Reference = q.repo.Tag(q.ref.Tag)
	if q.ref.Digest != "" {
		ref = q.repo.Digest(q.ref.Digest)
	}
	desc, err := q.puller.Get(ctx, ref)
	if err != nil {
		return "", err
	}
	found, err := q.platforms(ctx, desc)
	if err != nil {
		return "", err
	}
	if err := found.check(q.ref); err != nil {
		return "", err
	}
	return desc.Digest.String(), nil
}

// explain turns an error of the conversation into what the caller promises: a Fault for what stays
// as it is until somebody changes it, any other error for what may pass.
func (q *query) explain(err error) error {
	if apron.KindOf(err) != 0 {
		return err
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("resolve image %s: %w", q.ref, err)
	}
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return denied(q.ref, err)
	case code == http.StatusNotFound:
		return &apron.Fault{Kind: apron.Invalid, Msg: fmt.Sprintf("The image %s does not exist.", q.ref), Err: err}
	case code >= 400 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout:
		return &apron.Fault{Kind: apron.Invalid, Msg: fmt.Sprintf("The registry refused the image %s (status %d).", q.ref, code), Err: err}
	default:
		return fmt.Errorf("resolve image %s: %w", q.ref, err)
	}
}

func denied(ref Reference, err error) error {
	return &apron.Fault{
		Kind: apron.Invalid, Err: err,
		Msg: fmt.Sprintf("The image %s does not exist or its registry does not allow access to it.", ref),
	}
}

// platforms returns what platforms the image or index is for.
func (q *query) platforms(ctx context.Context, desc *remote.Descriptor) (platformSet, error) {
	switch {
	case desc.MediaType.IsIndex():
		return q.indexPlatforms(ctx, desc)
	case desc.MediaType == types.OCIManifestSchema1 || desc.MediaType == types.DockerManifestSchema2:
		return q.imagePlatform(desc)
	default:
		return nil, notImage(q.ref, fmt.Errorf("media type %s", desc.MediaType))
	}
}

func (q *query) imagePlatform(desc *remote.Descriptor) (platformSet, error) {
	img, err := desc.Image()
	if err != nil {
		return nil, notImage(q.ref, err)
	}
	m, err := img.Manifest()
	if err != nil || m.Config.Size < 0 || m.Config.Size > maxConfigBytes {
		return nil, notImage(q.ref, err)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	return configPlatform(raw), nil
}

// indexPlatforms looks at the platforms an index names, and into those of its parts for which it
// names none.
func (q *query) indexPlatforms(ctx context.Context, desc *remote.Descriptor) (platformSet, error) {
	idx, err := desc.ImageIndex()
	if err != nil {
		return nil, notImage(q.ref, err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		return nil, notImage(q.ref, err)
	}
	found := platformSet{}
	var unnamed []v1.Descriptor
	for _, part := range m.Manifests {
		switch {
		case part.Platform != nil && part.Platform.Architecture != "":
			found.add(part.Platform.OS, part.Platform.Architecture)
		case part.MediaType.IsIndex() || part.MediaType.IsImage():
			unnamed = append(unnamed, part)
		}
	}
	for _, part := range unnamed {
		if found.usable() || q.budget == 0 {
			break
		}
		q.budget--
		inner, err := q.puller.Get(ctx, q.repo.Digest(part.Digest.String()))
		if err != nil {
			return nil, err
		}
		more, err := q.platforms(ctx, inner)
		if err != nil {
			return nil, err
		}
		found.merge(more)
	}
	return found, nil
}
