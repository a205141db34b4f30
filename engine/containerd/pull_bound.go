package containerd

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/typeurl/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// defaultMaxUnpackedBytes bounds what the layers of an image become on disk. A manifest says how much
// is fetched and nothing of how much it unpacks to: a few MiB of gzip can be a full disk.
const defaultMaxUnpackedBytes = 40 << 30

// The names under which a pull tells the engine child its bound, beside each layer.
const (
	payloadPull  = "apron.pull"  // whose layers count together
	payloadBound = "apron.bound" // bytes
)

// tooLarge ends the unpacking of a layer. Of an error in the engine child, a call leaves the text.
const tooLarge = "layers unpack to more than the bound of the pull"

// boundLayers has the engine child count what the layers of one pull unpack to.
func boundLayers(limit int64) diff.ApplyOpt {
	pull := rand.Text()
	return func(_ context.Context, _ ocispec.Descriptor, c *diff.ApplyConfig) error {
		name, err := typeurl.MarshalAny(wrapperspb.String(pull))
		if err != nil {
			return fmt.Errorf("bound the layers of a pull: %w", err)
		}
		bound, err := typeurl.MarshalAny(wrapperspb.Int64(limit))
		if err != nil {
			return fmt.Errorf("bound the layers of a pull: %w", err)
		}
		if c.ProcessorPayloads == nil {
			c.ProcessorPayloads = map[string]typeurl.Any{}
		}
		c.ProcessorPayloads[payloadPull], c.ProcessorPayloads[payloadBound] = name, bound
		return nil
	}
}

// tallies counts, in the engine child, what the layers of pulls unpack to. It is safe for concurrent
// use.
type tallies struct {
	mu    sync.Mutex // guards the map and its members
	pulls map[string]*tally
}

// tally is what is left to a pull. Nobody says when a pull is over: it goes when it has been left alone
// for longer than one takes.
type tally struct {
	left int64
	used time.Time
}

// handle is a diff.Handler: it does what containerd's own does, and counts where a bound came along.
func (t *tallies) handle(ctx context.Context, mediaType string) (diff.StreamProcessorInit, bool) {
	compressed, err := images.DiffCompression(ctx, mediaType)
	if err != nil {
		return nil, false
	}
	return func(_ context.Context, stream diff.StreamProcessor, payloads map[string]typeurl.Any) (diff.StreamProcessor, error) {
		in := io.ReadCloser(stream)
		if compressed != "" {
			var err error
			if in, err = compression.DecompressStream(stream); err != nil {
				return nil, err
			}
		}
		pull, bound, err := readBound(payloads)
		if err != nil || bound == 0 {
			return &unpacked{ReadCloser: in}, err
		}
		return newBounded(in, func(n int64) error { return t.spend(pull, bound, n) }), nil
	}, true
}

// readBound returns what boundLayers has sent; bound 0: nothing.
func readBound(payloads map[string]typeurl.Any) (pull string, bound int64, err error) {
	if payloads[payloadPull] == nil || payloads[payloadBound] == nil {
		return "", 0, nil
	}
	var name wrapperspb.StringValue
	var limit wrapperspb.Int64Value
	err = errors.Join(typeurl.UnmarshalTo(payloads[payloadPull], &name), typeurl.UnmarshalTo(payloads[payloadBound], &limit))
	if err != nil {
		return "", 0, fmt.Errorf("read the bound of a pull: %w", err)
	}
	return name.Value, limit.Value, nil
}

// spend takes n bytes from what is left to a pull.
func (t *tallies) spend(pull string, bound, n int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	mine := t.pulls[pull]
	if mine == nil {
		for name, other := range t.pulls {
			if now.Sub(other.used) > 2*pullTimeout {
				delete(t.pulls, name)
			}
		}
		mine = &tally{left: bound}
		t.pulls[pull] = mine
	}
	mine.used = now
	if n < 0 || n > mine.left {
		mine.left = 0
		return errors.New(tooLarge + " (" + strconv.FormatInt(bound, 10) + " bytes)")
	}
	mine.left -= n
	return nil
}

// unpacked is a layer's archive without compression.
type unpacked struct{ io.ReadCloser }

// MediaType implements diff.StreamProcessor.
func (*unpacked) MediaType() string { return ocispec.MediaTypeImageLayer }

// bounded is one that is looked at as it passes: by its headers, which say more than its length does
// of files with holes. No byte passes before the headers ahead of it have been counted.
type bounded struct {
	in     io.ReadCloser
	chunks chan []byte   // to who counts; closed: there are no more
	idle   chan struct{} // receives when who counts wants another chunk
	done   chan struct{} // closed when nobody counts any more
	err    error         // why; set before done is closed
	chunk  []byte        // belongs to who counts
	ended  bool
}

func newBounded(in io.ReadCloser, spend func(n int64) error) *bounded {
	b := &bounded{in: in, chunks: make(chan []byte), idle: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.err = countEntries((*chunkReader)(b), spend)
	}()
	<-b.idle // it reads before it does anything else
	return b
}

// chunkReader is what who counts reads from.
type chunkReader bounded

// Read implements io.Reader.
func (r *chunkReader) Read(p []byte) (int, error) {
	if len(r.chunk) == 0 {
		r.idle <- struct{}{}
		var more bool
		if r.chunk, more = <-r.chunks; !more {
			return 0, io.EOF
		}
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// entryBytes is what a file costs beside its content: an inode and its name.
const entryBytes = 512

// countEntries spends what the entries of an archive take on a disk, and reads it to its end. Whether
// it is well-formed is for those to say who unpack it.
func countEntries(r io.Reader, spend func(n int64) error) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err != nil {
			break
		}
		if err := spend(entryBytes); err != nil {
			return err
		}
		if err := spend(h.Size); err != nil {
			return err
		}
	}
	rest := make([]byte, 64<<10) // goes nowhere, but is unpacked
	for {
		n, err := r.Read(rest)
		if err := spend(int64(n)); err != nil {
			return err
		}
		if err != nil {
			return nil //nolint:nilerr // the end
		}
	}
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.ended {
		return 0, errors.Join(b.err, io.EOF)
	}
	n, err := b.in.Read(p)
	if n == 0 {
		return n, err
	}
	b.chunks <- p[:n]
	select {
	case <-b.idle:
		return n, err
	case <-b.done:
		b.ended = true
		return 0, b.err
	}
}

// Close implements io.Closer.
func (b *bounded) Close() error {
	if !b.ended {
		b.ended = true
		close(b.chunks)
		<-b.done
	}
	return b.in.Close()
}

// MediaType implements diff.StreamProcessor.
func (*bounded) MediaType() string { return ocispec.MediaTypeImageLayer }
