package containerd

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"apron"
	"apron/engine"
)

// session is a Driver's connection to the machine: the engine child and everything else instances
// are made with. It is immutable once opened and safe for concurrent use.
type session struct {
	cfg         Config
	client      *client.Client
	snapshotter string
	shim, runc  string // absolute paths
	cgroups     cgroups
	groups      *serviceGroups
	net         *network
	roster      *engine.Roster
	slots       chan struct{} // holds one per instance being made
	spares      chan spare    // networks made in advance
	pulls       *turns        // by image digest
	rush        *rush
	quotas      *quotas

	noUserNamespaces error // why instances share the host's user ids; nil: each has its own
}

// openSession looks at the machine and makes what all instances share.
func openSession(ctx context.Context, cfg Config, cl *client.Client, r *engine.Roster) (*session, error) {
	s := &session{
		cfg: cfg, client: cl, roster: r, groups: &serviceGroups{}, pulls: &turns{}, rush: &rush{},
		slots: make(chan struct{}, runtime.NumCPU()+1), spares: make(chan spare, spares),
	}
	var err error
	if s.snapshotter, err = snapshotter(ctx, cl); err != nil {
		return nil, err
	}
	if s.shim, s.runc, err = Binaries(cfg.Dir); err != nil {
		return nil, err
	}
	if s.cgroups, err = detectCgroups(); err != nil {
		return nil, err
	}
	if err := s.cgroups.make(servicesOf(cfg.Dir), servicesShares); err != nil {
		return nil, err
	}
	if s.net, err = openNetwork(ctx, cfg.Dir); err != nil {
		return nil, err
	}
	if err := s.net.allow(cfg.Open); err != nil {
		return nil, err
	}
	if s.noUserNamespaces = s.tryUserNamespaces(ctx); s.noUserNamespaces != nil {
		cfg.Log.Warn("instances have no user namespaces of their own here", "reason", s.noUserNamespaces)
	}
	s.quotas = openQuotas(cfg)
	return s, nil
}

// tryUserNamespaces returns why instances cannot have user ids of their own; nil: they can.
func (s *session) tryUserNamespaces(ctx context.Context) error {
	abilities, err := s.client.GetSnapshotterCapabilities(ctx, s.snapshotter)
	if err != nil {
		return fmt.Errorf("ask what the snapshotter can do: %w", err)
	}
	if !slices.Contains(abilities, "remap-ids") {
		return errors.New("the kernel cannot map the owners of files in overlay mounts (Linux 5.19 can)")
	}
	return probeUserNamespaces()
}

// dropImage lets go of a revision's image; its content is collected soon after.
func (s *session) dropImage(ctx context.Context, id apron.RevisionID) error {
	err := s.client.ImageService().Delete(ctx, imageName(id))
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("let go of image of revision %s: %w", id, err)
	}
	return nil
}
