package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"apron"
	"apron/engine"
)

// Bounds of a pull.
const (
	maxImageBytes = 10 << 30 // compressed layers together; what App Runner's registry takes per layer
	pullTimeout   = 15 * time.Minute
)

// imagePrefix begins the names of the image records that keep revisions' images from being collected.
const imagePrefix = "apron/"

func imageName(id apron.RevisionID) string { return imagePrefix + string(id) }

// platform is what instances run on: this machine's own.
func platform() platforms.MatchComparer {
	return platforms.OnlyStrict(ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// pull makes a revision's image startable under the name of its record: from content that is here
// already, because another revision has the same image, or from the registry.
func (s *session) pull(ctx context.Context, spec engine.Spec) error {
	name := imageName(spec.Revision)
	if ok, err := s.pulled(ctx, name); ok || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(withLogger(ctx, s.cfg.Log), pullTimeout)
	defer cancel()
	img, err := s.shareImage(ctx, spec, name)
	if img == nil && err == nil {
		img, err = s.fetchImage(ctx, spec, name)
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
	same, err := s.client.ImageService().List(ctx, "target.digest=="+spec.Image.Digest)
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
		if err := img.Unpack(ctx, s.snapshotter); err != nil {
			return nil, fmt.Errorf("unpack image of revision %s: %w", spec.Revision, err)
		}
		return img, nil
	}
	return nil, nil
}

// imageLabels marks a record with what Revisions needs to know of it.
func imageLabels(spec engine.Spec) map[string]string {
	return map[string]string{labelService: string(spec.Service), labelRevision: string(spec.Revision)}
}

// fetchImage pulls from the registry that Locate names.
func (s *session) fetchImage(ctx context.Context, spec engine.Spec, name string) (client.Image, error) {
	at, err := s.cfg.Locate(ctx, spec.Image.Reference)
	if err != nil {
		return nil, fmt.Errorf("locate image %s: %w", spec.Image.Reference, err)
	}
	host := strings.TrimPrefix(strings.TrimPrefix(at.URL, "https://"), "http://")
	r := &pinned{
		Resolver: docker.NewResolver(docker.ResolverOptions{Hosts: registry(at, host)}),
		ref:      host + "/" + at.Repository + "@" + spec.Image.Digest, name: name,
	}
	if c, ok := r.Resolver.(interface{ CloseIdleConnections() }); ok {
		defer c.CloseIdleConnections()
	}
	limits := &sizeLimit{}
	img, err := s.client.Pull(ctx, r.ref,
		client.WithResolver(r), client.WithPlatformMatcher(platform()),
		client.WithPullUnpack, client.WithPullSnapshotter(s.snapshotter),
		client.WithPullLabels(imageLabels(spec)), client.WithImageHandlerWrapper(limits.wrap),
		client.WithMaxConcurrentDownloads(3))
	if err != nil {
		return nil, explainPull(err, spec.Image.Reference, r.resolved)
	}
	return img, nil
}

// registry describes the one host an image is pulled from.
func registry(at RegistryHost, host string) docker.RegistryHosts {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		IdleConnTimeout:       time.Second, // a pull's connections are of no use to the next
		MaxIdleConnsPerHost:   4,
	}
	cl := &http.Client{Transport: transport}
	opts := []docker.RegistryOpt{
		docker.WithClient(cl),
		docker.WithPlainHTTP(func(string) (bool, error) { return at.PlainHTTP, nil }),
		docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthClient(cl),
			docker.WithAuthCreds(func(asked string) (string, string, error) {
				if asked != host {
					return "", "", nil // never to a host that a registry merely points to
				}
				return at.User, at.Password, nil
			}))),
	}
	return docker.ConfigureDefaultRegistries(opts...)
}

// pinned resolves one reference and calls what it finds by the record's name.
type pinned struct {
	remotes.Resolver
	ref      string
	name     string
	resolved bool // the manifest is there: what is missing later is something else
}

// Resolve implements remotes.Resolver.
func (p *pinned) Resolve(ctx context.Context, _ string) (string, ocispec.Descriptor, error) {
	_, desc, err := p.Resolver.Resolve(ctx, p.ref)
	p.resolved = err == nil
	return p.name, desc, err
}

// Fetcher implements remotes.Resolver.
func (p *pinned) Fetcher(ctx context.Context, _ string) (remotes.Fetcher, error) {
	return p.Resolver.Fetcher(ctx, p.ref)
}

// sizeLimit stops a pull whose layers are too large together, or that is of something else than an
// image, before they are downloaded.
type sizeLimit struct {
	mu    sync.Mutex // guards total
	total int64
}

func (l *sizeLimit) wrap(h images.Handler) images.Handler {
	return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := h.Handle(ctx, desc)
		if err != nil || !images.IsManifestType(desc.MediaType) {
			return children, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		config := false
		for _, c := range children {
			config = config || images.IsConfigType(c.MediaType)
			if images.IsLayerType(c.MediaType) {
				l.total += c.Size
			}
		}
		switch {
		case !config:
			return nil, apron.Faultf(apron.Invalid, "The artifact is not a container image.")
		case l.total > maxImageBytes:
			return nil, apron.Faultf(apron.Invalid, "The image is too large: its layers are %d MiB compressed, at most %d MiB are allowed.",
				l.total>>20, maxImageBytes>>20)
		}
		return children, nil
	})
}

// checkConfig refuses an image whose programs this machine cannot run, or that names none to run. A
// manifest list has been searched for the platform already; a single manifest says what it is for in
// its configuration.
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
