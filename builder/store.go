package builder

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// imageHost begins the references of images that were made here. No registry has them.
const imageHost = "apron.build/"

// labelLayer marks a layer with what it was made from, so that no layer is made twice.
const labelLayer = "apron.build.layer"

// imageStore is the engine's own image store. Safe for concurrent use.
type imageStore struct {
	client *client.Client
}

// openStore connects to the engine on the socket, when first used and again whenever it was away.
func openStore(socket, namespace string) (*imageStore, error) {
	cl, err := client.New(socket, client.WithDefaultNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("make client of the engine: %w", err)
	}
	return &imageStore{client: cl}, nil
}

func platform() ocispec.Platform {
	return ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
}

// config returns the configuration of the image under a name.
func (s *imageStore) config(ctx context.Context, name string) (ocispec.Image, error) {
	record, err := s.client.ImageService().Get(ctx, name)
	if err != nil {
		return ocispec.Image{}, fmt.Errorf("find image %s: %w", name, err)
	}
	config, err := client.NewImageWithPlatform(s.client, record, platforms.OnlyStrict(platform())).Spec(ctx)
	if err != nil {
		return ocispec.Image{}, fmt.Errorf("read configuration of image %s: %w", name, err)
	}
	return config, nil
}

// whole reports whether all content of a record is there.
func (s *imageStore) whole(ctx context.Context, record images.Image) bool {
	ok, _, _, missing, err := images.Check(ctx, s.client.ContentStore(), record.Target, platforms.OnlyStrict(platform()))
	return err == nil && ok && len(missing) == 0
}

// label marks what an image refers to, so that it is kept as long as the image is.
func (s *imageStore) label(ctx context.Context, target ocispec.Descriptor) error {
	blobs := s.client.ContentStore()
	handler := images.SetChildrenLabels(blobs, images.FilterPlatforms(images.ChildrenHandler(blobs), platforms.OnlyStrict(platform())))
	if err := images.Walk(ctx, handler, target); err != nil {
		return fmt.Errorf("look at an image's parts: %w", err)
	}
	return nil
}

// keep makes or replaces the record of a name.
func (s *imageStore) keep(ctx context.Context, record images.Image) error {
	_, err := s.client.ImageService().Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		_, err = s.client.ImageService().Update(ctx, record)
	}
	if err != nil {
		return fmt.Errorf("keep image %s: %w", record.Name, err)
	}
	return nil
}

// drop lets go of a name; its content is collected soon after.
func (s *imageStore) drop(ctx context.Context, name string) error {
	if err := s.client.ImageService().Delete(ctx, name); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("let go of image %s: %w", name, err)
	}
	return nil
}

// layer is a layer in the store.
type layer struct {
	desc ocispec.Descriptor
	diff digest.Digest // of the uncompressed archive
}

// labelDiff is where containerd looks for a layer's uncompressed digest.
const labelDiff = "containerd.io/uncompressed"

// findLayer returns the layer that was made from key, or false.
func (s *imageStore) findLayer(ctx context.Context, key string) (found layer, ok bool, err error) {
	err = s.client.ContentStore().Walk(ctx, func(info content.Info) error {
		found = layer{
			desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: info.Digest, Size: info.Size},
			diff: digest.Digest(info.Labels[labelDiff]),
		}
		ok = found.diff != ""
		return nil
	}, fmt.Sprintf("labels.%q==%s", labelLayer, key))
	if err != nil {
		return layer{}, false, fmt.Errorf("look for a layer: %w", err)
	}
	return found, ok, nil
}

// writeLayer stores what write writes as the layer made from key. The caller holds a lease.
func (s *imageStore) writeLayer(ctx context.Context, key string, write func(io.Writer) error) (layer, error) {
	ref := "apron-layer-" + key
	w, err := content.OpenWriter(ctx, s.client.ContentStore(), content.WithRef(ref))
	if err != nil {
		return layer{}, fmt.Errorf("store a layer: %w", err)
	}
	defer w.Close()
	if err := w.Truncate(0); err != nil {
		return layer{}, fmt.Errorf("store a layer: %w", err)
	}
	// Not compressed: it is unpacked once, at once, and goes nowhere else.
	sum := digest.Canonical.Digester()
	pieces := bufio.NewWriterSize(w, layerPiece) // each is a call to the engine
	size := &counter{}
	if err := errors.Join(write(io.MultiWriter(sum.Hash(), size, pieces)), pieces.Flush()); err != nil {
		return layer{}, err
	}
	labels := map[string]string{labelLayer: key, labelDiff: sum.Digest().String()}
	if err := w.Commit(ctx, size.n, sum.Digest(), content.WithLabels(labels)); err != nil && !errdefs.IsAlreadyExists(err) {
		return layer{}, fmt.Errorf("store a layer: %w", err)
	}
	return layer{
		desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: sum.Digest(), Size: size.n},
		diff: sum.Digest(),
	}, nil
}

// layerPiece is how much of a layer is sent at a time.
const layerPiece = 1 << 20

// counter counts what passes.
type counter struct{ n int64 }

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// writeImage stores an image of layers under a name, with labels on the record, and unpacks it.
func (s *imageStore) writeImage(ctx context.Context, name string, config ocispec.ImageConfig, layers []layer, labels map[string]string) error {
	now := time.Unix(0, 0).UTC() // the same content gives the same image
	img := ocispec.Image{Created: &now, Platform: platform(), Config: config, RootFS: ocispec.RootFS{Type: "layers"}}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	refs := map[string]string{}
	for i, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, l.diff)
		manifest.Layers = append(manifest.Layers, l.desc)
		refs[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.desc.Digest.String()
	}
	var err error
	if manifest.Config, err = s.writeJSON(ctx, ocispec.MediaTypeImageConfig, img, nil); err != nil {
		return err
	}
	refs["containerd.io/gc.ref.content.config"] = manifest.Config.Digest.String()
	target, err := s.writeJSON(ctx, ocispec.MediaTypeImageManifest, manifest, refs)
	if err != nil {
		return err
	}
	return s.keep(ctx, images.Image{Name: name, Target: target, Labels: labels})
}

func (s *imageStore) writeJSON(ctx context.Context, mediaType string, v any, labels map[string]string) (ocispec.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("encode image: %w", err)
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(b), Size: int64(len(b))}
	err = content.WriteBlob(ctx, s.client.ContentStore(), desc.Digest.String(), bytes.NewReader(b), desc, content.WithLabels(labels))
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("store image: %w", err)
	}
	return desc, nil
}

// lease protects what is written with the returned context from collection until release.
func (s *imageStore) lease(ctx context.Context) (leased context.Context, release func(), err error) {
	leased, done, err := s.client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return nil, nil, fmt.Errorf("protect an image in the making: %w", err)
	}
	return leased, func() { _ = done(context.WithoutCancel(ctx)) }, nil // it expires anyway
}

// builtName names the record of a revision's image.
func builtName(service, revision string) string { return imageHost + service + ":" + revision }

// setCommand makes an image under the same name that runs argv, and returns its digest.
func (s *imageStore) setCommand(ctx context.Context, name string, argv []string) (string, error) {
	ctx, release, err := s.lease(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	record, err := s.client.ImageService().Get(ctx, name)
	if err != nil {
		return "", fmt.Errorf("find image %s: %w", name, err)
	}
	blobs := s.client.ContentStore()
	manifest, err := images.Manifest(ctx, blobs, record.Target, platforms.OnlyStrict(platform()))
	if err != nil {
		return "", fmt.Errorf("read image %s: %w", name, err)
	}
	raw, err := content.ReadBlob(ctx, blobs, manifest.Config)
	if err != nil {
		return "", fmt.Errorf("read image %s: %w", name, err)
	}
	var config map[string]any // not ocispec.Image: what it does not know must stay
	if err := json.Unmarshal(raw, &config); err != nil {
		return "", fmt.Errorf("read configuration of image %s: %w", name, err)
	}
	inner, ok := config["config"].(map[string]any)
	if !ok {
		inner = map[string]any{}
		config["config"] = inner
	}
	inner["Cmd"] = argv
	delete(inner, "Entrypoint")
	refs := map[string]string{}
	for i, l := range manifest.Layers {
		refs[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = l.Digest.String()
	}
	if manifest.Config, err = s.writeJSON(ctx, manifest.Config.MediaType, config, nil); err != nil {
		return "", err
	}
	refs["containerd.io/gc.ref.content.config"] = manifest.Config.Digest.String()
	if manifest.MediaType == "" {
		manifest.MediaType = ocispec.MediaTypeImageManifest
	}
	if record.Target, err = s.writeJSON(ctx, manifest.MediaType, manifest, refs); err != nil {
		return "", err
	}
	return record.Target.Digest.String(), s.keep(ctx, record)
}
