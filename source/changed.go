package source

import (
	"context"
	"fmt"

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
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	repository, err := r.open(ctx, ref)
	if err != nil {
		return "", err
	}
	if digest, err = repository.Digest(ctx, ref.Tag, known); err != nil {
		return "", fmt.Errorf("look at image %s: %w", ref, err)
	}
	return digest, nil
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
