package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-cmp/cmp"

	"apron/engine/containerd"
)

// census is what there is on the machine of a data directory.
type census struct {
	Containers, Shims, Namespaces, Groups, Roots int // one of each per instance
	Images                                       []string
	Leases                                       []string
}

// take counts. Files and groups of one instance are told by its id, which is the container's.
func (h *home) take(ctx context.Context, cl *client.Client) (census, error) {
	var c census
	containers, err := cl.ContainerService().List(ctx)
	if err != nil {
		return census{}, err
	}
	c.Containers, c.Shims = len(containers), len(shims(h.data))
	namespaces, err := filepath.Glob(filepath.Join(h.data, "run", "netns", "*"))
	if err != nil {
		return census{}, err
	}
	c.Namespaces = len(namespaces)
	if c.Groups, err = h.groups(); err != nil {
		return census{}, err
	}
	snapshotter := cl.SnapshotService("overlayfs")
	err = snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindActive {
			c.Roots++
		}
		return nil
	})
	if err != nil {
		return census{}, err
	}
	images, err := cl.ImageService().List(ctx)
	if err != nil {
		return census{}, err
	}
	for _, image := range images {
		c.Images = append(c.Images, image.Name)
	}
	slices.Sort(c.Images)
	leases, err := cl.LeasesService().List(ctx)
	if err != nil {
		return census{}, err
	}
	for _, lease := range leases {
		c.Leases = append(c.Leases, lease.ID)
	}
	return c, nil
}

// groups counts the control groups of instances, which are below those of their services in the tree
// named like the data directory's bridge.
func (h *home) groups() (int, error) {
	b, err := os.ReadFile(filepath.Join(h.data, "engine", "network.json"))
	if err != nil {
		return 0, err
	}
	var network struct{ Bridge string }
	if err := json.Unmarshal(b, &network); err != nil {
		return 0, err
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/memory"} {
		found, err := filepath.Glob(filepath.Join(root, network.Bridge, "services", "*", "*", "cgroup.procs"))
		if err != nil {
			return 0, err
		}
		if len(found) > 0 {
			return len(found), nil
		}
	}
	return 0, nil
}

// clearedIn bounds how long it may take until nothing is left of what a crash interrupted.
const clearedIn = 20 * time.Second

// wantNothingLost returns once the machine has what the services that there are need, and nothing else:
// one instance for each that runs, and the images of the revisions that they have or can go back to.
// Leases of calls that an engine was killed in end with the next start of the server, or by themselves
// after a day: with leased they do not count.
func (h *home) wantNothingLost(t testing.TB, leased bool) {
	t.Helper()
	cl, err := client.New(containerd.SocketPath(h.data), client.WithDefaultNamespace(containerd.DefaultNamespace), client.WithTimeout(waitLimit))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	want := h.needs(t)
	var got census
	limit := time.Now().Add(clearedIn)
	for { // clearing away goes on behind the operation's end after a crash, and announces nothing
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		got, err = h.take(ctx, cl)
		cancel()
		if leased {
			got.Leases = nil
		}
		diff := cmp.Diff(want, got)
		if err == nil && diff == "" {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%v; what there is (-want +got):\n%s", err, diff)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// needs returns what there should be.
func (h *home) needs(t testing.TB) census {
	t.Helper()
	var want census
	out, err := h.client.ListServices(t.Context(), &apprunner.ListServicesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, svc := range out.ServiceSummaryList {
		if svc.Status == types.ServiceStatusRunning {
			want.Containers++
		}
		list, err := h.local.Revisions(t.Context(), aws.ToString(svc.ServiceArn))
		if err != nil {
			t.Fatal(err)
		}
		for _, rev := range list {
			if rev.Outcome == "DEPLOYED" || rev.Outcome == "SUPERSEDED" {
				want.Images = append(want.Images, "apron/"+rev.ID)
			}
		}
	}
	slices.Sort(want.Images)
	want.Shims, want.Namespaces, want.Groups, want.Roots = want.Containers, want.Containers, want.Containers, want.Containers
	return want
}

// String is for failures.
func (c crash) String() string { return fmt.Sprintf("%s %s", c.victim, c.step) }
