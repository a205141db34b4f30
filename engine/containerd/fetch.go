package containerd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"apron"
	"apron/engine"
)

// fetchedPrefix begins the names of images that were fetched to be built from. BuildKit wants a tag.
const fetchedPrefix = builtHost + "fetched:"

// Fetch makes an image available to builds and returns the name it has in the engine's store. It comes
// from where Config.Images says, or from the store when it is there. The name stays until Unfetch. Faults are
// those of Prepare.
func (d *Driver) Fetch(ctx context.Context, image apron.Image) (name string, err error) {
	s, err := d.await(ctx)
	if err != nil {
		return "", err
	}
	algorithm, hex, ok := strings.Cut(image.Digest, ":")
	if !ok || algorithm != "sha256" {
		return "", apron.Faultf(apron.Invalid, "The image %s has no digest that can be used.", image.Reference)
	}
	name = fetchedPrefix + hex
	if ok, err := s.pulled(ctx, name); ok || err != nil {
		return name, err
	}
	ctx, cancel := context.WithTimeout(withLogger(ctx, s.cfg.Log), pullTimeout)
	defer cancel()
	release, err := s.pulls.hold(ctx, image.Digest)
	if err != nil {
		return "", fmt.Errorf("wait for another pull of image %s: %w", image.Reference, err)
	}
	defer release()
	spec := engine.Spec{Image: image}
	img, err := s.shareImage(ctx, spec, name)
	if img == nil && err == nil {
		_, err = s.fetchImage(ctx, spec, name, func(int64, int64) {}) // nobody watches it
	}
	return name, err
}

// Unfetch lets go of everything Fetch has made available. Builds that run keep what they use.
func (d *Driver) Unfetch(ctx context.Context) error {
	s, err := d.await(ctx)
	if err != nil {
		return err
	}
	all, err := s.client.ImageService().List(ctx, fmt.Sprintf("name~=%q", "^"+fetchedPrefix))
	if err != nil {
		return fmt.Errorf("list fetched images: %w", err)
	}
	var errs []error
	for _, img := range all {
		if err := s.client.ImageService().Delete(ctx, img.Name); err != nil {
			errs = append(errs, fmt.Errorf("let go of fetched image: %w", err))
		}
	}
	return errors.Join(errs...)
}
