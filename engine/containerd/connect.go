package containerd

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The snapshotters an engine may use, the better first.
const (
	overlayfs = "overlayfs"
	native    = "native"
)

// dial returns a client of the engine on the socket. It connects when first used, and again whenever
// the engine was away; calls made meanwhile fail as unavailable.
func dial(socket, namespace string) (*client.Client, error) {
	cl, err := client.New(socket, client.WithDefaultNamespace(namespace), client.WithExtraDialOpts([]grpc.DialOption{
		// containerd's own goes on dialling after the client is closed, for as long as a dial may take.
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 300 * time.Millisecond},
			MinConnectTimeout: 5 * time.Second,
		}),
	}))
	if err != nil {
		return nil, fmt.Errorf("make client of the engine: %w", err)
	}
	return cl, nil
}

// snapshotter returns which snapshotter works on this machine.
func snapshotter(ctx context.Context, cl *client.Client) (string, error) {
	resp, err := cl.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1")
	if err != nil {
		return "", fmt.Errorf("ask the engine for its snapshotters: %w", err)
	}
	for _, p := range resp.GetPlugins() {
		if p.GetID() == overlayfs && p.GetInitErr() == nil {
			return overlayfs, nil
		}
	}
	return native, nil
}

// away reports whether err says that the engine child could not be reached, or went away during the
// call: neither success nor failure, to be asked again.
func away(err error) bool {
	return errdefs.IsUnavailable(err) || status.Code(err) == codes.Unavailable // Version leaves gRPC's error as it is
}
