package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	buildclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/containerdexecutor"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	buildsession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/db/boltutil"
	buildnet "github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	buildworker "github.com/moby/buildkit/worker/containerd"
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/semaphore"
)

// defaultKeepBytes is how much of a disk cached build steps may take when nobody said.
const defaultKeepBytes = 20 << 30

// openController makes BuildKit, with this same process's containerd to run its steps and keep its
// images. It works in the namespace and snapshotter of the instances: what it has built can be started
// as it is.
func openController(ctx context.Context, c ServerConfig) (*control.Controller, error) {
	ctx = withLogger(context.WithoutCancel(ctx), c.Log.With("part", "build"))
	root := filepath.Join(c.Dir, "engine", "build")
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("make builder directory: %w", err)
	}
	w, err := openWorker(ctx, c, root)
	if err != nil {
		return nil, err
	}
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return nil, fmt.Errorf("add build worker: %w", err)
	}
	sessions, err := buildsession.NewManager()
	if err != nil {
		return nil, fmt.Errorf("make build sessions: %w", err)
	}
	steps, err := bboltcachestorage.NewStore(filepath.Join(root, "cache.db"))
	if err != nil {
		return nil, fmt.Errorf("open build cache: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(root, "history.db"), 0o600,
		&bolt.Options{FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open build history: %w", err), steps.Close())
	}
	controller, err := control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": forwarder.NewGatewayForwarder(workers.Infos(), dockerfile.Build),
		},
		CacheManager:   solver.NewCacheManager(ctx, "local", steps, worker.NewCacheResultStorage(workers)),
		HistoryDB:      history,
		CacheStore:     steps,
		LeaseManager:   w.LeaseManager(),
		ContentStore:   w.ContentStore(),
		GarbageCollect: w.GarbageCollect,
		GracefulStop:   ctx.Done(),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make builder: %w", err), history.Close(), steps.Close())
	}
	return controller, nil
}

// openWorker makes what runs the steps of builds.
func openWorker(ctx context.Context, c ServerConfig, root string) (*base.Worker, error) {
	cl, err := dial(c.Socket, DefaultNamespace)
	if err != nil {
		return nil, err
	}
	shots, err := snapshotter(ctx, cl)
	if err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	opt, err := buildworker.NewWorkerOpt(buildworker.WorkerOptions{
		Root: root, Address: c.Socket, SnapshotterName: shots, Namespace: DefaultNamespace,
		// Only to satisfy it: networks and executor are replaced by ours below.
		NetworkOpt:     netproviders.Opt{Mode: "host"},
		ParallelismSem: semaphore.NewWeighted(int64(c.Builds.parallel())),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make build worker: %w", err), cl.Close())
	}
	steps, networks, err := openExecutor(ctx, c, cl, opt.Root)
	if err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	opt.Executor, opt.NetworkProviders, opt.ProxyProvider = steps, networks, nil
	opt.GCPolicy = c.Builds.policy()
	opt.RegistryHosts = noRegistry
	w, err := base.NewWorker(ctx, opt)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make build worker: %w", err), cl.Close())
	}
	return w, nil
}

// openExecutor makes what starts build steps: like instances, with the same programs, in a control
// group and on the network that builds share.
func openExecutor(ctx context.Context, c ServerConfig, cl *client.Client, root string) (executor.Executor, map[pb.NetMode]buildnet.Provider, error) {
	shim, runc, err := Binaries(c.Dir)
	if err != nil {
		return nil, nil, err
	}
	if err := limitBuilds(c.Dir, c.Builds); err != nil {
		return nil, nil, err
	}
	bridged, err := openBuildNetwork(ctx, c.Dir)
	if err != nil {
		return nil, nil, err
	}
	// No host network: a step must not reach what listens on this machine alone.
	networks := map[pb.NetMode]buildnet.Provider{pb.NetMode_UNSET: bridged, pb.NetMode_NONE: buildnet.NewNoneProvider()}
	steps, err := yielding(c.Dir, c.Log, containerdexecutor.New(containerdexecutor.ExecutorOptions{
		Client: cl, Root: root, CgroupParent: buildGroup(c.Dir), NetworkProviders: networks,
		Runtime: &containerdexecutor.RuntimeInfo{
			Name:    shim,
			Options: &options.Options{BinaryName: runc, Root: runcDir(c.Dir)},
		},
	}))
	return steps, networks, err
}

// noRegistry keeps the builder off the network: what a build starts from is in the store before it
// begins, fetched by whoever knows the mirrors and the credentials. It is no error, because images of
// the store are resolved by the same way.
func noRegistry(string) ([]docker.RegistryHost, error) { return nil, nil }

func (l BuildLimits) parallel() int {
	if l.Parallel > 0 {
		return l.Parallel
	}
	return runtime.NumCPU()
}

// policy says what of the cache goes when it has grown too large: sources first, since they are here
// anyway, then whatever was not used for longest. The cache is only for speed.
func (l BuildLimits) policy() []buildclient.PruneInfo {
	keep := l.KeepBytes
	if keep <= 0 {
		keep = defaultKeepBytes
	}
	const reserve = 5 << 30 // free bytes on the disk, below which the cache shrinks to a quarter
	return []buildclient.PruneInfo{
		{Filter: []string{"type==source.local"}, KeepDuration: 7 * 24 * time.Hour, ReservedSpace: keep / 20, MaxUsedSpace: keep / 10},
		{KeepDuration: 60 * 24 * time.Hour, ReservedSpace: keep / 4, MaxUsedSpace: keep},
		{All: true, ReservedSpace: keep / 4, MaxUsedSpace: keep, MinFreeSpace: reserve},
	}
}

// discardBuild removes what is left of one step.
func discardBuild(ctx context.Context, container client.Container) error {
	t, err := container.Task(ctx, nil)
	if err == nil {
		_, err = t.Delete(ctx, client.WithProcessKill)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("end step: %w", err)
	}
	if err := container.Delete(ctx); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove step: %w", err)
	}
	return nil
}
