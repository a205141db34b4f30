package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"apron"
)

// Limits of what is read whole.
const (
	maxManifestBytes = 4 << 20 // the least that the OCI distribution specification asks registries to take
	maxConfigBytes   = 8 << 20 // real configurations have kilobytes
)

// manifestTypes are the media types asked for: without them registries answer with the first schema
// of all.
func manifestTypes() []string {
	return []string{
		"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
		"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
		"*/*",
	}
}

// Repository fetches the parts of one image from where it is located. It is safe for concurrent use
// and needs no closing.
//
// The errors of its methods are Invalid Faults, with the registry's own words, when trying again
// would not help; UnavailableErrors when it may, after a few tries; or their context's.
type Repository struct{ *conversation }

// Open returns the repository of the image ref names: the Reference of an apron.Image or anything
// ParseReference accepts. It sends nothing yet, but may run a credential helper. Its errors are those of
// Locate.
func (r *Resolver) Open(ctx context.Context, ref string) (*Repository, error) {
	parsed, err := ParseReference(ref)
	if err != nil {
		return nil, err
	}
	return r.open(ctx, parsed)
}

func (r *Resolver) open(ctx context.Context, ref Reference) (*Repository, error) {
	loc, err := r.locate(ctx, ref)
	if err != nil {
		return nil, err
	}
	c := newConversation(ref, loc, r.cfg.Transport, r.grants, r.retry)
	c.stall, c.plain = r.cfg.StallTimeout, r.allowsPlain
	return &Repository{c}, nil
}

// Digest asks which digest a tag names, without looking at the image. known is the one it named
// before, empty if nobody knows: the registry is then asked only whether that is still so (RFC 9110,
// 13.1.2), and one that heeds it answers with a status alone.
func (r *Repository) Digest(ctx context.Context, tag, known string) (string, error) {
	header := http.Header{"Accept": manifestTypes()}
	if known != "" {
		header.Set("If-None-Match", strconv.Quote(known)) // registries use the digest as the entity tag
	}
	res, err := r.ask(ctx, http.MethodHead, "/manifests/"+tag, header)
	if err != nil {
		return "", err
	}
	drop(res)
	if res.StatusCode == http.StatusNotModified {
		return known, nil
	}
	if dgst := digest.Digest(res.Header.Get("Docker-Content-Digest")); dgst.Validate() == nil {
		return dgst.String(), nil
	}
	_, dgst, err := r.manifest(ctx, tag) // the header is optional
	return dgst, err
}

// Manifest returns the media type and content of the manifest that is to be run here of the image or
// index with a digest: of an index, the part for Linux and this machine's architecture. Every digest
// on the way has been compared. When it is an image's, its platform has not.
func (r *Repository) Manifest(ctx context.Context, dgst string) (mediaType string, content []byte, err error) {
	chosen, err := (&query{r, maxManifests}).image(ctx, dgst)
	return chosen.mediaType, chosen.content, err
}

// manifest fetches a manifest or index by tag or digest, and returns its digest too.
func (r *Repository) manifest(ctx context.Context, reference string) (d document, dgst string, err error) {
	res, err := r.ask(ctx, http.MethodGet, "/manifests/"+reference, http.Header{"Accept": manifestTypes()}) //nolint:bodyclose // readAll does
	if err != nil {
		return document{}, "", err
	}
	d.content, err = r.readAll(res.Body, maxManifestBytes, "manifest")
	if err != nil {
		return document{}, "", err
	}
	want := digest.Digest(reference)
	if !strings.Contains(reference, ":") {
		want = digest.Digest(res.Header.Get("Docker-Content-Digest"))
	}
	got := digest.FromBytes(d.content)
	if want.Validate() == nil { // a tag without that header, which is optional, means what it is
		got = want.Algorithm().FromBytes(d.content)
		if got != want {
			return document{}, "", r.tampered(want.String())
		}
	}
	d.mediaType, _, _ = strings.Cut(res.Header.Get("Content-Type"), ";")
	d.mediaType = strings.TrimSpace(d.mediaType)
	if m, kind, err := d.parse(); err == nil && kind != manifestKind(d.mediaType) {
		d.mediaType = m.MediaType
	}
	return d, got.String(), nil
}

// config fetches an image configuration of size bytes.
func (r *Repository) config(ctx context.Context, dgst string, size int64) ([]byte, error) {
	if size < 0 || size > maxConfigBytes || digest.Digest(dgst).Validate() != nil {
		return nil, notImage(r.ref, nil)
	}
	body, err := r.Blob(ctx, dgst, size, 0)
	if err != nil {
		return nil, err
	}
	content, err := r.readAll(body, maxConfigBytes, "configuration")
	if err == nil && digest.Digest(dgst).Algorithm().FromBytes(content) != digest.Digest(dgst) {
		err = r.tampered(dgst)
	}
	return content, err
}

// readAll reads a body to its end and closes it.
func (r *Repository) readAll(body io.ReadCloser, limit int64, what string) ([]byte, error) {
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	switch {
	case err != nil && !isOurs(err):
		return nil, unreachable(r.loc.Host, err)
	case err != nil:
		return nil, err
	case int64(len(b)) > limit:
		return nil, apron.Faultf(apron.Invalid, "The %s of the image %s is larger than %d MiB.", what, r.ref, limit>>20)
	}
	return b, nil
}

// isOurs reports whether an error is one this package promises already.
func isOurs(err error) bool {
	var u *UnavailableError
	return apron.KindOf(err) != 0 || errors.As(err, &u)
}

func (c *conversation) tampered(want string) error {
	return apron.Faultf(apron.Invalid, "The registry %s delivers something else than it should for the image %s: the content does not have the digest %s.",
		c.loc.Host, c.ref, want)
}

// Blob returns the content of a blob of size bytes from offset on; it is for the caller to compare
// its digest. What breaks off is asked for again, from where it broke off, until it stays without
// progress for too long. A registry that delivers more than size bytes is read no further than one
// beyond. ctx bounds the reading too.
func (r *Repository) Blob(ctx context.Context, dgst string, size, offset int64) (io.ReadCloser, error) {
	b := &body{conversation: r.conversation, ctx: ctx, digest: dgst, size: size, offset: offset}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// body is a blob being read. It belongs to one goroutine.
type body struct {
	*conversation
	ctx    context.Context //nolint:containedctx // an io.Reader has no other way to be bounded
	digest string
	size   int64
	offset int64 // of the next byte to be read
	in     io.ReadCloser
	cancel context.CancelCauseFunc // ends the request whose body is in
	tries  int                     // requests in a row that brought too little
	since  int64                   // offset at the last request that counted as progress
}

// enoughBytes is how much a request must bring to count as progress.
const enoughBytes = 64 << 10

// open sends the request for what is left.
func (b *body) open() error {
	ctx, cancel := context.WithCancelCause(b.ctx)
	header := http.Header{"Accept-Encoding": {"identity"}}
	if b.offset > 0 {
		// With its end, which some registries want.
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.offset, b.size-1))
	}
	res, err := b.ask(ctx, http.MethodGet, "/blobs/"+b.digest, header) //nolint:bodyclose // Close does
	if err != nil {
		cancel(nil)
		return err
	}
	b.in, b.cancel = res.Body, cancel
	if err := b.align(res); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

// align makes in begin at offset: registries need not know ranges.
func (b *body) align(res *http.Response) error {
	if res.StatusCode == http.StatusPartialContent {
		from, ok := strings.CutPrefix(res.Header.Get("Content-Range"), "bytes ")
		if from, _, _ = strings.Cut(from, "-"); !ok || from != strconv.FormatInt(b.offset, 10) {
			return apron.Faultf(apron.Invalid, "The registry %s delivers another part of the image %s than it was asked for.", b.loc.Host, b.ref)
		}
		return nil
	}
	buf := make([]byte, min(b.offset, 32<<10))
	for skip := b.offset; skip > 0; {
		n, err := b.watched(buf[:min(skip, int64(len(buf)))])
		if skip -= int64(n); err != nil && skip > 0 {
			return unreachable(b.loc.Host, fmt.Errorf("skip %d bytes: %w", b.offset, err))
		}
	}
	return nil
}

// Read is part of io.Reader.
func (b *body) Read(p []byte) (int, error) {
	for {
		n, err := b.watched(p)
		b.offset += int64(n)
		if b.offset > b.size {
			b.offset -= int64(n)
			return 0, apron.Faultf(apron.Invalid, "The registry %s delivers more than it should for the image %s: %s has more than %d bytes.",
				b.loc.Host, b.ref, b.digest, b.size)
		}
		if err == nil || n > 0 { // what is wrong will be so at the next read
			return n, nil
		}
		if b.offset == b.size {
			return 0, io.EOF
		}
		if err := b.resume(err); err != nil {
			return 0, err
		}
	}
}

// watched reads from the connection, and gives it up when nothing comes for too long.
func (b *body) watched(p []byte) (int, error) {
	timer := time.AfterFunc(b.stall, func() { b.cancel(errStalled) })
	n, err := b.in.Read(p)
	if !timer.Stop() && err != nil {
		err = errStalled // not that somebody has cancelled
	}
	return n, err
}

// resume asks again for what is left after a read that failed with err.
func (b *body) resume(err error) error {
	_ = b.Close() // it has failed already
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	if b.offset-b.since >= enoughBytes {
		b.tries, b.since = 0, b.offset
	}
	b.tries++
	if !b.retry.pause(b.ctx, b.tries, 0) {
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		return &UnavailableError{
			Msg: fmt.Sprintf("The registry %s breaks off a part of the image %s after %d of %d bytes.", b.loc.Host, b.ref, b.offset, b.size), Err: bare(err),
		}
	}
	return b.open()
}

// Close ends the request in progress.
func (b *body) Close() error {
	b.cancel(nil)
	return b.in.Close()
}
