package server

import (
	"context"
	"fmt"

	"apron/builder"
	"apron/engine/containerd"
)

// Runtimes finds, makes and imports base images of managed runtimes.
type Runtimes = builder.Builder

// RuntimeOffer is what a managed runtime would be built with.
type RuntimeOffer = builder.Offer

// OpenRuntimes returns the builder of the engine that runs on this machine, for commands about base
// images. The caller closes it.
func OpenRuntimes(ctx context.Context, cfg Config) (*Runtimes, error) {
	if err := containerd.Ping(ctx, containerd.SocketPath(cfg.Data)); err != nil {
		return nil, fmt.Errorf("%w; is the server running? apron up starts it", err)
	}
	c := cfg.builder()
	c.Official = "" // found by the server, which knows mirrors and credentials
	b, err := builder.New(c)
	if err != nil {
		return nil, fmt.Errorf("open builder: %w", err)
	}
	return b, nil
}

// CheckRuntime refuses a managed runtime that there is not, and a version that can be none of it.
func CheckRuntime(runtime, version string) error { return builder.Check(runtime, version) }
