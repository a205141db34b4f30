package containerd

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Where the ids of instances come from on the host: the range that systemd sets apart for containers,
// which distributions give to nobody (systemd.io/UIDS-GIDS). Each instance has as many as there were
// before 32-bit ids, which is what images use.
const (
	firstID  = 524_288
	lastID   = 1_879_048_191
	idCount  = 65_536
	idRanges = (lastID + 1 - firstID) / idCount
)

// idMap says which of the host's user and group ids the ids of an instance are. The zero value means
// that they are the host's own.
type idMap struct{ uids, gids []specs.LinuxIDMapping }

// idsOf returns the ids of the instance with the address, which no other instance of the data
// directory has: a subnet has fewer addresses than there are ranges. user is what the image's
// configuration names ("uid", "uid:gid", names, or nothing): an id beyond the range gets its last one.
func idsOf(addr netip.Addr, user string) idMap {
	a, first := addr.As4(), pool().Addr().As4()
	index := number(a) - number(first)
	base := firstID + index%idRanges*idCount
	uid, gid, _ := strings.Cut(user, ":")
	return idMap{uids: extents(base, uid), gids: extents(base, gid)}
}

func number(a [4]byte) uint32 {
	return uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
}

func extents(base uint32, id string) []specs.LinuxIDMapping {
	n, err := strconv.ParseUint(id, 10, 31)
	if err != nil || n < idCount {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: base, Size: idCount}}
	}
	return []specs.LinuxIDMapping{
		{ContainerID: 0, HostID: base, Size: idCount - 1},
		{ContainerID: uint32(n), HostID: base + idCount - 1, Size: 1},
	}
}

// mapped reports whether there is a user namespace.
func (m idMap) mapped() bool { return len(m.uids) > 0 }

func (m idMap) equal(o idMap) bool {
	return slices.Equal(m.uids, o.uids) && slices.Equal(m.gids, o.gids)
}

// idsIn returns the ids of an instance by its OCI spec, which is where they are kept.
func idsIn(s *specs.Spec) idMap {
	if s.Linux == nil {
		return idMap{}
	}
	return idMap{uids: s.Linux.UIDMappings, gids: s.Linux.GIDMappings}
}

// snapshot says how the root file system of an instance is made, so that files the image gives to a
// user belong to the same user inside.
func (m idMap) snapshot() []snapshots.Opt {
	if !m.mapped() {
		return nil
	}
	return []snapshots.Opt{client.WithUserNSRemapperLabels(m.uids, m.gids)}
}

func sysMap(ms []specs.LinuxIDMapping) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, 0, len(ms))
	for _, m := range ms {
		out = append(out, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return out
}

// withIDs puts the instance into the user namespace at path, which has the ids.
func withIDs(m idMap, path string) oci.SpecOpts {
	return func(ctx context.Context, cl oci.Client, c *containers.Container, s *oci.Spec) error {
		if !m.mapped() {
			return nil
		}
		if err := oci.WithUserNamespace(m.uids, m.gids)(ctx, cl, c, s); err != nil {
			return fmt.Errorf("set user namespace: %w", err)
		}
		return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.UserNamespace, Path: path})(ctx, cl, c, s)
	}
}
