package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"golang.org/x/sys/unix"

	"apron"
)

// Offer is what a managed runtime would be built with now.
type Offer struct {
	Runtime string // identifier, such as "nodejs22"
	Ours    bool   // an extension: App Runner does not have it
	Version string // of the language, full; empty: none
	Origin  string // where the base image is from or would be made from, in words
	Ready   bool   // the base image is in the store
	Note    string // why the version is none of the runtime's, or there is none; empty: it is
}

// Offers returns what each managed runtime would be built with, official images left aside: whether a
// registry has those is seen when they are needed.
func (b *Builder) Offers(ctx context.Context) ([]Offer, error) {
	unlock, err := b.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var all []Offer
	for _, m := range runtimes() {
		o := Offer{Runtime: m.id, Ours: m.ours}
		got, ok, err := b.imported(ctx, m, m.majors)
		switch {
		case err != nil:
			return nil, err
		case ok:
			o.Version, o.Origin, o.Ready = got.version, got.origin, true
		default:
			if err := b.offer(ctx, m, &o); err != nil {
				return nil, err
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// offer looks at what packages have for a runtime.
func (b *Builder) offer(ctx context.Context, m managed, o *Offer) error {
	c, _, err := b.catalog(ctx, m.language)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.Note = err.Error()
		return nil
	}
	v, note, err := b.choose(m, c, m.majors)
	if apron.KindOf(err) != 0 {
		o.Note = "not on offer here; " + onOffer(c.Versions)
		return nil
	}
	if err != nil {
		return err
	}
	o.Version, o.Origin, o.Note = v, origin(m.language, c, v), note
	o.Ready = b.assembled(ctx, m.language, c, v)
	return nil
}

// Prepare makes the base images of a runtime in a version, as a build would: so that the first build
// need not.
func (b *Builder) Prepare(ctx context.Context, runtime, version string, log func(line string)) (Offer, error) {
	m, err := findRuntime(runtime)
	if err != nil {
		return Offer{}, err
	}
	base, err := b.base(ctx, m, version, log)
	if err != nil {
		return Offer{}, err
	}
	o := Offer{Runtime: m.id, Ours: m.ours, Version: base.version, Origin: base.origin, Ready: true}
	if len(base.notes) > 0 {
		o.Note = base.notes[0]
	}
	return o, nil
}

// Import keeps an image of an archive, OCI's or Docker's, as the base image of a runtime in a version.
// It needs a shell and, besides what applications run with, what they are built with. It comes before
// any other source.
func (b *Builder) Import(ctx context.Context, runtime, version string, tar io.Reader, from string) error {
	m, err := findRuntime(runtime)
	if err != nil {
		return err
	}
	if _, err := m.wanted(version); err != nil || version == "" {
		return apron.Faultf(apron.Invalid, "The version %q is none of runtime %s.", version, m)
	}
	ctx, release, err := b.store.lease(ctx)
	if err != nil {
		return err
	}
	defer release()
	index, err := archive.ImportIndex(ctx, b.store.client.ContentStore(), tar)
	if err != nil {
		return &apron.Fault{Kind: apron.Invalid, Msg: "The file is not an image archive.", Err: err}
	}
	record := images.Image{
		Name: fmt.Sprintf("%sbase/%s:%s-imported", imageHost, m.language, version), Target: index,
		Labels: map[string]string{labelImported: string(m.language), labelVersion: version, labelOrigin: from},
	}
	if err := b.store.label(ctx, index); err != nil {
		return err
	}
	if !b.store.whole(ctx, record) {
		return apron.Faultf(apron.Invalid, "The archive lacks a part of the image, or is for another platform.")
	}
	return b.store.keep(ctx, record)
}

// lock makes this builder the only one, of this process and of others, that looks for base images.
func (b *Builder) lock(ctx context.Context) (unlock func(), err error) {
	select { // the second often wants what the first is making
	case b.making <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := os.OpenFile(filepath.Join(b.cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		<-b.making
		return nil, fmt.Errorf("lock base images: %w", err)
	}
	unlock = func() { _ = f.Close(); <-b.making }
	tick := time.NewTicker(100 * time.Millisecond) // a lock of another process tells nobody when it is free
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			unlock()
			return nil, fmt.Errorf("lock base images: %w", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			unlock()
			return nil, ctx.Err()
		}
	}
}
