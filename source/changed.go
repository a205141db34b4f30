package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"apron"
)

// Changed asks the registry which digest an image identifier means now, without looking at the image.
// known is the digest it meant before, empty if nobody knows: the registry is then asked only whether
// that is still so (RFC 9110, 13.1.2), and one that heeds it answers with a status alone. Errors are as
// those of Resolve.
func (r *Resolver) Changed(ctx context.Context, scope apron.Scope, identifier, known string) (digest string, err error) {
	ref, err := r.reference(scope, identifier)
	if err != nil {
		return "", err
	}
	if ref.Digest != "" {
		return ref.Digest, nil
	}
	loc, err := r.locate(ref)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	q, err := newQuery(ref, loc, &ifNoneMatch{r.cfg.Transport, known})
	if err != nil {
		return "", fmt.Errorf("look at image %s: %w", ref, err)
	}
	desc, err := q.puller.Head(ctx, q.repo.Tag(ref.Tag))
	if err == nil {
		return desc.Digest.String(), nil
	}
	if answer, ok := errors.AsType[*transport.Error](err); ok && answer.StatusCode == http.StatusNotModified && known != "" {
		return known, nil
	}
	return "", q.explain(err)
}

// reference reads an image identifier as the scope's account means it.
func (r *Resolver) reference(scope apron.Scope, identifier string) (Reference, error) {
	ref, err := ParseReference(identifier)
	if err != nil {
		return Reference{}, err
	}
	return r.localize(scope, ref)
}

// isEmbedded reports whether the reference leads to the embedded registry.
func (r *Resolver) isEmbedded(ref Reference) bool {
	_, _, _, ok := r.embedded(ref.Account)
	return ref.Kind == ECR && ok
}

// ifNoneMatch makes requests for the head of a manifest conditional.
type ifNoneMatch struct {
	next  http.RoundTripper
	known string // digest; empty: they are not
}

// RoundTrip is part of http.RoundTripper. Registries use the digest in quotes as the entity tag, some
// of them without the quotes.
func (t *ifNoneMatch) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.known != "" && req.Method == http.MethodHead && strings.Contains(req.URL.Path, "/manifests/") {
		req = req.Clone(req.Context())
		req.Header.Set("If-None-Match", `"`+t.known+`"`)
	}
	return t.next.RoundTrip(req)
}
