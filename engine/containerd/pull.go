package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"apron"
	"apron/engine"
)

// Bounds of a pull.
const (
	defaultMaxImageBytes = 10 << 30         // compressed layers together; what App Runner's registry takes per layer
	pullTimeout          = 15 * time.Minute // of one try; the next goes on where it ended
	maxDownloads         = 3                // layers of one image at a time
)

// imagePrefix begins the names of the image records that keep revisions' images from being collected.
const imagePrefix = "apron/"

// labelImage is the digest a revision's image was asked for by. The record's target is the manifest
// for this machine, which differs when that digest is an index's.
const labelImage = "apron.image"

func imageName(id apron.RevisionID) string { return imagePrefix + string(id) }

// platform is what instances run on: this machine's own.
func platform() platforms.MatchComparer {
	return platforms.OnlyStrict(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// Repository is where the parts of one image are fetched from. It is safe for concurrent use. A Fault
// of its methods reaches the caller of Prepare as it is; any other error may pass.
type Repository interface {
	// Manifest returns the manifest to run here of the image or index with a digest, whose content has
	// been compared with it.
	Manifest(ctx context.Context, digest string) (mediaType string, content []byte, err error)
	// Blob returns the content of a blob of size bytes from offset on. Its digest is compared here.
	Blob(ctx context.Context, digest string, size, offset int64) (io.ReadCloser, error)
}

// pull makes a revision's image startable under the name of its record: from content that is here
// already, because another revision has the same image, or from the registry. Revisions with the
// same image wait for one another.
func (s *session) pull(ctx context.Context, spec engine.Spec, report func(done, total int64)) error {
	name := imageName(spec.Revision)
	switch ok, err := s.pulled(ctx, name); {
	case err != nil:
		return err
	case ok:
		return s.endLostPull(ctx, spec.Image.Digest)
	}
	ctx, cancel := context.WithTimeout(withLogger(ctx, s.cfg.Log), pullTimeout)
	defer cancel()
	release, err := s.pulls.hold(ctx, spec.Image.Digest)
	if err != nil {
		return fmt.Errorf("wait for another pull of image %s: %w", spec.Image.Reference, err)
	}
	defer release()
	img, err := s.shareImage(ctx, spec, name)
	if img == nil && err == nil {
		img, err = s.fetchImage(ctx, spec, name, report)
	}
	if err != nil {
		return err
	}
	if err := s.checkConfig(ctx, img, spec); err != nil {
		return errors.Join(err, s.dropImage(context.WithoutCancel(ctx), spec.Revision))
	}
	return nil
}

// pulled reports whether a record is there with everything it needs.
func (s *session) pulled(ctx context.Context, name string) (bool, error) {
	img, err := s.image(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ok, err := img.IsUnpacked(ctx, s.snapshotter)
	if err != nil && !errdefs.IsNotFound(err) {
		return false, fmt.Errorf("look at image %s: %w", name, err)
	}
	return ok, nil
}

func (s *session) image(ctx context.Context, name string) (client.Image, error) {
	record, err := s.client.ImageService().Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("find image %s: %w", name, err)
	}
	return client.NewImageWithPlatform(s.client, record, platform()), nil
}

// shareImage makes the record from an image with the same digest, or returns nil when there is none
// that is whole.
func (s *session) shareImage(ctx context.Context, spec engine.Spec, name string) (client.Image, error) {
	same, err := s.client.ImageService().List(ctx,
		"labels."+strconv.Quote(labelImage)+"=="+spec.Image.Digest, "target.digest=="+spec.Image.Digest)
	if err != nil {
		return nil, fmt.Errorf("look for image %s: %w", spec.Image.Digest, err)
	}
	for _, other := range same {
		ok, _, _, missing, err := images.Check(ctx, s.client.ContentStore(), other.Target, platform())
		if err != nil || !ok || len(missing) > 0 {
			continue
		}
		record := images.Image{Name: name, Target: other.Target, Labels: imageLabels(spec)}
		if _, err := s.client.ImageService().Create(ctx, record); err != nil && !errdefs.IsAlreadyExists(err) {
			return nil, fmt.Errorf("keep image of revision %s: %w", spec.Revision, err)
		}
		img := client.NewImageWithPlatform(s.client, record, platform())
		leased, let, err := s.leasePull(ctx, spec.Image.Digest) // or containerd takes one that nobody finds again
		if err != nil {
			return nil, err
		}
		if err := img.Unpack(leased, s.snapshotter); err != nil {
			return nil, errors.Join(fmt.Errorf("unpack image of revision %s: %w", spec.Revision, err), let(ctx, false))
		}
		return img, let(ctx, false)
	}
	return nil, nil
}

// imageLabels marks a record with what Revisions and shareImage need to know of it.
func imageLabels(spec engine.Spec) map[string]string {
	return map[string]string{
		labelService: string(spec.Service), labelRevision: string(spec.Revision), labelImage: spec.Image.Digest,
	}
}

// builtHost begins the references of images that were built here: the store has them, or nobody.
const builtHost = "apron.build/"

// fetchImage pulls from the registry. What a pull that fails has brought is kept for a while, unless
// it fails for good: the next one goes on from there.
func (s *session) fetchImage(ctx context.Context, spec engine.Spec, name string, report func(done, total int64)) (client.Image, error) {
	if strings.HasPrefix(spec.Image.Reference, builtHost) {
		return nil, apron.Faultf(apron.Invalid, "The image built for this revision is no longer here; a new deployment builds it again.")
	}
	from, err := s.cfg.Images(ctx, spec.Image.Reference)
	if err != nil {
		return nil, fmt.Errorf("locate image %s: %w", spec.Image.Reference, err)
	}
	for {
		ctx, let, err := s.leasePull(ctx, spec.Image.Digest)
		if err != nil {
			return nil, err
		}
		p := newPuller(s, spec, from, report)
		img, err := p.pull(ctx, name)
		if err == nil {
			return img, let(ctx, false)
		}
		if ctx.Err() != nil { // whatever containerd makes of it
			return nil, fmt.Errorf("pull image %s: %w", spec.Image.Reference, ctx.Err())
		}
		broken := p.discardBroken(ctx)
		if err = explainPull(err, spec.Image.Reference); broken || apron.KindOf(err) != 0 {
			err = errors.Join(err, let(ctx, true))
		}
		if !broken || !p.resumed() {
			return nil, err
		}
		// What an earlier pull left was damaged, perhaps by a power cut; the registry need not be to blame.
		s.cfg.Log.Warn("a resumed download was damaged; starting over", "revision", spec.Revision, "err", err)
	}
}

// checkConfig refuses an image whose programs this machine cannot run, or that names none to run.
func (s *session) checkConfig(ctx context.Context, img client.Image, spec engine.Spec) error {
	config, err := img.Spec(ctx)
	if err != nil {
		return fmt.Errorf("read configuration of image %s: %w", spec.Image.Reference, err)
	}
	got := config.Platform // says nothing in some images: seeing is believing
	if (got.OS != "" || got.Architecture != "") && !platform().Match(platforms.Normalize(got)) {
		return wrongPlatform(spec.Image.Reference, got.OS+"/"+got.Architecture)
	}
	if len(spec.Command) == 0 && len(config.Config.Entrypoint) == 0 && len(config.Config.Cmd) == 0 {
		return apron.Faultf(apron.Invalid, "%s", noCommand)
	}
	return nil
}

func wrongPlatform(ref, got string) error {
	return apron.Faultf(apron.Invalid, "The image %s is built for %s, but instances run on linux/%s (exec format error).", ref, got, runtime.GOARCH)
}
