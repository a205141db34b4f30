package builder

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"apron"
)

// DefaultTimeout is how long a build may take.
const DefaultTimeout = 30 * time.Minute

// Config is how a Builder is made. Dir, Engine and Builds are required.
type Config struct {
	Dir       string       // the builder's own files: what is on offer, packages in passing
	Engine    string       // unix socket of the engine's containerd
	Builds    string       // unix socket of the engine's BuildKit
	Namespace string       // containerd namespace of the instances
	Log       *slog.Logger // nil: discards

	// Fetch makes an image of a registry available in the engine's store, under a name with a tag, and
	// returns that name. An Invalid Fault it returns reaches the user. nil: there are no registries.
	Fetch func(ctx context.Context, scope apron.Scope, reference string) (name string, err error)

	// Official is where base images of managed runtimes are looked for first: a registry and, perhaps,
	// a path on it, such as docker.io/library. Empty: they are always made from packages.
	Official string
	// Substitute lets a version that is not on offer be replaced by the nearest that is.
	Substitute bool
	// NPMRegistry is the npm registry Node's releases come from; empty: the one this machine uses.
	NPMRegistry string
	// Packages is a directory with Debian packages, which are added to and kept; empty: they are
	// removed once a base image is made from them.
	Packages string

	// Env is set in every build step, and only there: proxies and mirrors. Values are sensitive.
	Env []Variable
	// NoEgress cuts build steps off the network.
	NoEgress bool
	// Timeout bounds a build; 0: DefaultTimeout.
	Timeout time.Duration
	// MaxDiskBytes is how much a build may write; 0: 10 GiB.
	MaxDiskBytes int64

	Transport http.RoundTripper // for the npm registry; nil: http.DefaultTransport
	Now       func() time.Time  // nil: time.Now
}

// Builder builds images in the engine child. Safe for concurrent use; Close ends it.
type Builder struct {
	cfg     Config
	store   *imageStore
	debian  *debian
	sealing []byte        // key of seal
	making  chan struct{} // capacity 1: held while a base image is looked for or made

	turns     *semaphore.Weighted // of builds, see together and alone
	company   company
	unreached *unreached      // official images
	alive     context.Context //nolint:containedctx // done at Close, which ends looks
	end       context.CancelFunc
	looks     sync.WaitGroup // for official images, that no build waits for
}

// New returns a Builder. It connects when it is first used, and again whenever the engine was away.
func New(c Config) (*Builder, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxDiskBytes <= 0 {
		c.MaxDiskBytes = 10 << 30
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	packages := c.Packages
	if packages == "" {
		packages = filepath.Join(c.Dir, "packages")
	}
	b := &Builder{
		cfg: c, making: make(chan struct{}, 1), turns: semaphore.NewWeighted(alone), unreached: openUnreached(filepath.Join(c.Dir, "unreached.json")),
		debian: newDebian(filepath.Join(c.Dir, "apt"), packages),
	}
	b.alive, b.end = context.WithCancel(context.Background())
	var err error
	if b.sealing, err = sealingKey(c.Dir); err != nil {
		return nil, err
	}
	if b.store, err = openStore(c.Engine, c.Namespace); err != nil {
		return nil, err
	}
	return b, nil
}

// Close ends the connections. Builds must have ended.
func (b *Builder) Close() error {
	b.end()
	b.looks.Wait()
	return b.store.client.Close()
}
