package containerd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"apron"
	"apron/engine"
)

// Limits of an image's form.
const (
	maxLayers      = 500 // overlayfs takes no more (kernel: OVL_MAX_STACK)
	maxConfigBytes = 8 << 20
)

// reportEvery is how often the progress of a pull is told.
const reportEvery = 500 * time.Millisecond

var _ remotes.Resolver = (*puller)(nil)

// puller is one pull: containerd asks it for the image's parts, and it watches what becomes of them.
// It is safe for concurrent use.
type puller struct {
	session *session
	spec    engine.Spec
	from    Repository
	report  func(done, total int64) // nil: nobody asks
	slots   chan struct{}           // holds one per download

	manifest []byte // set by Resolve, before anything is fetched

	mu       sync.Mutex // guards the fields below; held while report runs, so that it is called in order
	refs     map[string]ocispec.Descriptor
	earlier  bool // a part was begun by an earlier pull
	total    int64
	here     map[digest.Digest]int64 // bytes by layer
	done     int64                   // their sum
	reported time.Time
}

func newPuller(s *session, spec engine.Spec, from Repository, report func(done, total int64)) *puller {
	return &puller{
		session: s, spec: spec, from: from, report: report, slots: make(chan struct{}, maxDownloads),
		refs: map[string]ocispec.Descriptor{}, here: map[digest.Digest]int64{},
	}
}

// pull fetches and unpacks the image, and makes its record.
func (p *puller) pull(ctx context.Context, name string) (client.Image, error) {
	img, err := p.session.client.Pull(ctx, p.spec.Image.Reference,
		client.WithResolver(named{p, name}), client.WithPlatformMatcher(platform()),
		client.WithPullUnpack, client.WithPullSnapshotter(p.session.snapshotter),
		client.WithUnpackOpts([]client.UnpackOpt{client.WithUnpackApplyOpts(boundLayers(p.session.cfg.MaxUnpackedBytes))}),
		client.WithPullLabels(imageLabels(p.spec)), client.WithImageHandlerWrapper(p.watch))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = p.total // a layer that occurs twice has been counted once
	p.tell()
	return img, nil
}

// named makes containerd call the image by its record's name.
type named struct {
	*puller
	name string
}

// Resolve implements remotes.Resolver.
func (n named) Resolve(ctx context.Context, ref string) (string, ocispec.Descriptor, error) {
	_, desc, err := n.puller.Resolve(ctx, ref)
	return n.name, desc, err
}

// Resolve implements remotes.Resolver.
func (p *puller) Resolve(ctx context.Context, ref string) (string, ocispec.Descriptor, error) {
	mediaType, content, err := p.from.Manifest(ctx, p.spec.Image.Digest)
	if err != nil {
		return "", ocispec.Descriptor{}, err
	}
	p.manifest = content
	return ref, ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}, nil
}

// Fetcher implements remotes.Resolver.
func (p *puller) Fetcher(context.Context, string) (remotes.Fetcher, error) { return p, nil }

// Pusher implements remotes.Resolver.
func (p *puller) Pusher(context.Context, string) (remotes.Pusher, error) {
	return nil, errdefs.ErrNotImplemented
}

// Fetch implements remotes.Fetcher.
func (p *puller) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if desc.Digest == digest.FromBytes(p.manifest) {
		return io.NopCloser(bytes.NewReader(p.manifest)), nil
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return &blob{ctx: ctx, puller: p, desc: desc}, nil
}

// watch sees every part before and after it is fetched.
func (p *puller) watch(h images.Handler) images.Handler {
	return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		ref := remotes.MakeRefKey(ctx, desc)
		status, err := p.session.client.ContentStore().Status(ctx, ref)
		p.note(ref, desc, err == nil && status.Offset > 0)
		children, err := h.Handle(ctx, desc)
		if err != nil {
			return nil, err
		}
		if images.IsManifestType(desc.MediaType) {
			return children, p.vet(children)
		}
		p.advance(desc, desc.Size)
		return children, nil
	})
}

func (p *puller) note(ref string, desc ocispec.Descriptor, earlier bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refs[ref] = desc
	p.earlier = p.earlier || earlier
}

// vet refuses a manifest of something else than an image, or of one that is too large, before any
// layer is fetched.
func (p *puller) vet(children []ocispec.Descriptor) error {
	var config, layers int
	var total int64
	for _, c := range children {
		if c.Size < 0 || c.Size > p.session.cfg.MaxImageBytes && !images.IsLayerType(c.MediaType) {
			return apron.Faultf(apron.Invalid, "The image %s is not valid: it has a part of %d bytes.", p.spec.Image.Reference, c.Size)
		}
		switch {
		case images.IsConfigType(c.MediaType):
			config++
			if c.Size > maxConfigBytes {
				return apron.Faultf(apron.Invalid, "The image %s is not valid: its configuration has %d bytes.", p.spec.Image.Reference, c.Size)
			}
		case images.IsLayerType(c.MediaType):
			layers++
			if total += c.Size; total < 0 {
				return apron.Faultf(apron.Invalid, "The image %s is not valid: its size overflows.", p.spec.Image.Reference)
			}
		}
	}
	limit := p.session.cfg.MaxImageBytes
	switch {
	case config != 1:
		return apron.Faultf(apron.Invalid, "The artifact %s is not a container image.", p.spec.Image.Reference)
	case total > limit:
		return apron.Faultf(apron.Invalid, "The image is too large: its layers are %d MiB compressed, at most %d MiB are allowed (max-image-mib).",
			total>>20, limit>>20)
	case layers > maxLayers:
		return apron.Faultf(apron.Invalid, "The image has %d layers; at most %d are allowed.", layers, maxLayers)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = total
	return nil
}

// advance notes that a part has been brought up to an offset.
func (p *puller) advance(desc ocispec.Descriptor, offset int64) {
	if !images.IsLayerType(desc.MediaType) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += offset - p.here[desc.Digest]
	p.here[desc.Digest] = offset
	if now := time.Now(); p.done >= p.total || now.Sub(p.reported) >= reportEvery {
		p.reported = now
		p.tell()
	}
}

// tell reports the progress; mu is held.
func (p *puller) tell() {
	if p.report != nil && p.total > 0 {
		p.report(min(p.done, p.total), p.total)
	}
}

// resumed reports whether some of what was fetched goes back to an earlier pull.
func (p *puller) resumed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.earlier
}

// discardBroken removes the parts that are complete and yet not what they should be, so that no later
// pull goes on from them. It reports whether there were any.
func (p *puller) discardBroken(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	found := false
	for ref, desc := range p.refs {
		status, err := p.session.client.ContentStore().Status(ctx, ref)
		if err != nil || status.Offset < desc.Size {
			continue
		}
		found = true
		if err := p.session.client.ContentStore().Abort(ctx, ref); err != nil && !errdefs.IsNotFound(err) {
			p.session.cfg.Log.Error("discard a damaged download", "revision", p.spec.Revision, "err", fmt.Errorf("abort %s: %w", ref, err))
		}
	}
	return found
}

// blob is a part being fetched. It opens when first read, at the offset it was sought to. It belongs
// to one goroutine.
type blob struct {
	*puller
	ctx    context.Context //nolint:containedctx // an io.Reader has no other way to be bounded
	desc   ocispec.Descriptor
	offset int64
	in     io.ReadCloser // nil: not open
	closed bool
}

// Read is part of io.Reader.
func (b *blob) Read(buf []byte) (int, error) {
	if b.in == nil {
		in, err := b.from.Blob(b.ctx, b.desc.Digest.String(), b.desc.Size, b.offset)
		if err != nil {
			return 0, err
		}
		b.in = in
	}
	n, err := b.in.Read(buf)
	b.offset += int64(n)
	b.advance(b.desc, b.offset)
	return n, err
}

// Seek is part of io.Seeker. containerd seeks to where an earlier pull has ended.
func (b *blob) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart || offset < 0 {
		return 0, errdefs.ErrInvalidArgument
	}
	if b.in != nil && offset != b.offset {
		if err := b.in.Close(); err != nil {
			return 0, err
		}
		b.in = nil
	}
	b.offset = offset
	return offset, nil
}

// Close ends the download.
func (b *blob) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	<-b.slots
	if b.in == nil {
		return nil
	}
	return b.in.Close()
}
