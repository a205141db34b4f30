package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"apron"
	"apron/engine"
)

// Labels of containers and image records, and the extension that keeps an instance's spec. Changing
// one orphans the instances that run when the new binary starts.
const (
	labelService  = "apron.service"
	labelRevision = "apron.revision"
	labelAddress  = "apron.address"
	labelRestarts = "apron.restarts" // how often the process was started again; absent: 0
	labelReady    = "apron.ready"    // start time (Unix, ns) of the process that has been healthy; empty: none
	labelReserved = "apron.reserved" // not empty: made in advance, and perhaps started since
	extensionSpec = "apron.spec"
)

// Limits every instance has besides its service's CPU and memory.
const (
	maxProcesses = 1024
	maxFiles     = 65536
)

// capabilities is what root keeps inside an instance: what Docker leaves it, less NET_RAW and MKNOD,
// which serve to attack neighbours and nothing else a web application does.
func capabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
		"CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

// place is what an instance has of the machine to itself.
type place struct {
	addr netip.Addr
	ids  idMap
}

// imageOf returns the image of a prepared revision, and the user it says its processes run as.
func (s *session) imageOf(ctx context.Context, id apron.RevisionID) (img client.Image, user string, err error) {
	if img, err = s.image(ctx, imageName(id)); err != nil {
		return nil, "", err
	}
	config, err := img.Spec(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("read configuration of image of revision %s: %w", id, err)
	}
	return img, config.Config.User, nil
}

// ids returns the ids of an instance, whose image names the user. gVisor makes a user namespace of
// its own.
func (s *session) ids(spec engine.Spec, addr netip.Addr, user string) idMap {
	if s.noUserNamespaces != nil || s.cfg.sandboxed(spec) {
		return idMap{}
	}
	return idsOf(addr, user)
}

func reservedMark(reserved bool) string {
	if reserved {
		return "yes"
	}
	return ""
}

// createContainer makes the container record and root file system of an instance; nothing runs yet.
func (s *session) createContainer(ctx context.Context, img client.Image, id apron.InstanceID, spec engine.Spec, at place, reserved bool) error {
	spec.Runtime = cmp.Or(spec.Runtime, s.cfg.Runtime) // the default may be another one for the next driver
	saved, err := saveSpec(spec)
	if err != nil {
		return err
	}
	binary, err := s.runtimeBinary(spec)
	if err != nil {
		return err
	}
	opts := []client.NewContainerOpts{
		client.WithImage(img),
		client.WithSnapshotter(s.snapshotter),
		client.WithNewSnapshot(string(id), img, at.ids.snapshot()...),
		client.WithContainerLabels(map[string]string{
			labelService: string(spec.Service), labelRevision: string(spec.Revision), labelAddress: at.addr.String(), labelReserved: reservedMark(reserved),
		}),
		client.WithContainerExtension(extensionSpec, saved),
		client.WithRuntime(s.shim, s.runtimeOptions(binary, at.ids)),
		client.WithNewSpec(s.ociSpec(id, spec, at.ids, img)...), // last: it looks into the snapshot for the user's name
	}
	_, err = s.client.NewContainer(ctx, string(id), opts...)
	if errdefs.IsNotFound(err) { // the image's layers are not unpacked, or no longer
		if err := img.Unpack(ctx, s.snapshotter); err != nil {
			return fmt.Errorf("unpack image of revision %s: %w", spec.Revision, err)
		}
		_, err = s.client.NewContainer(ctx, string(id), opts...)
	}
	if err != nil {
		return fmt.Errorf("make container: %w", err)
	}
	return s.boundDisk(ctx, id)
}

// runtimeOptions says which runtime the shim drives. The pipes it makes for the output belong to the
// instance's root: an application that opens /dev/stdout again must be allowed to.
func (s *session) runtimeOptions(binary string, ids idMap) *options.Options {
	o := &options.Options{BinaryName: binary, Root: runcDir(s.cfg.Dir)}
	if ids.mapped() {
		o.IoUid, o.IoGid = ids.uids[0].HostID, ids.gids[0].HostID
	}
	return o
}

// ociSpec says how an instance is run.
func (s *session) ociSpec(id apron.InstanceID, spec engine.Spec, ids idMap, img oci.Image) []oci.SpecOpts {
	memory := uint64(spec.MemoryMiB) << 20
	opts := []oci.SpecOpts{
		oci.WithDefaultSpec(),
		oci.WithDefaultUnixDevices,
		oci.WithoutRunMount, // it would hide what the image has in /run
		oci.WithImageConfig(img),
		withCommand(spec.Command),
		oci.WithEnv(spec.Env),
		oci.WithHostname(string(id)),
		oci.WithNoNewPrivileges,
		oci.WithCapabilities(capabilities()),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: netnsPath(s.cfg.Dir, id)}),
		withIDs(ids, usernsPath(s.cfg.Dir, id)),
		oci.WithNamespacedCgroup(),
		oci.WithCgroup(groupOf(s.cfg.Dir, spec.Service, id)),
		oci.WithMounts(s.mounts(id)),
		// The quota itself follows after the first healthy probe: it would only slow the start.
		oci.WithCPUShares(uint64(max(2, spec.MilliCPU*1024/1000))),
		oci.WithMemoryLimit(memory),
		oci.WithPidsLimit(maxProcesses),
		withFiles,
		withOOMScore,
	}
	if swapAccounted() {
		opts = append(opts, oci.WithMemorySwap(int64(memory))) // memory and swap together: no swap
	}
	// Last, because what it allows depends on the capabilities.
	return append(opts, seccomp.WithDefaultProfile(), withoutX32)
}

// withoutX32 leaves the x32 ABI out of the system call filter, so that it is refused as a whole. Kernels
// have it turned off, and translating the filter for it is half of what the filter costs at every start.
func withoutX32(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	f := s.Linux.Seccomp
	f.Architectures = slices.DeleteFunc(f.Architectures, func(a specs.Arch) bool { return a == specs.ArchX32 })
	return nil
}

// withCommand replaces entrypoint and command of the image.
func withCommand(argv []string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		if len(argv) > 0 {
			s.Process.Args = argv
		}
		if len(s.Process.Args) == 0 {
			return apron.Faultf(apron.Invalid, "%s", noCommand)
		}
		return nil
	}
}

const noCommand = "The image has neither an entrypoint nor a command, and the service has no start command."

// withFiles limits open files, to no more than this process may have: raising a hard limit takes a
// capability that root does not always have.
func withFiles(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return fmt.Errorf("read limit of open files: %w", err)
	}
	n := min(own.Max, maxFiles)
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: n, Hard: n}}
	return nil
}

// oomScore makes the kernel end an application before anything of the platform when the whole machine
// is out of memory (proc_pid_oom_score_adj(5)).
const oomScore = 500

// withOOMScore raises it to no less than this process has: lowering it takes a capability that root
// does not always have.
func withOOMScore(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
	score := oomScore
	if own, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(own))); err == nil {
			score = max(score, n)
		}
	}
	s.Process.OOMScoreAdj = &score
	return nil
}

// mounts are the files for name resolution, and the instance's own limits for runtimes that size
// themselves by them.
func (s *session) mounts(id apron.InstanceID) []specs.Mount {
	ms := []specs.Mount{{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"ro", "nosuid", "noexec", "nodev"},
	}}
	for _, name := range []string{"resolv.conf", "hosts", "hostname"} {
		ms = append(ms, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(filesDir(s.cfg.Dir, id), name),
			Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	return ms
}

// swapAccounted reports whether the kernel can limit swap; version 1 kernels often cannot.
func swapAccounted() bool {
	if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err == nil {
		return true // version 2: the runtime leaves swap alone where it has no such control
	}
	_, err := os.Stat(cgroupRoot + "/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

// saveSpec keeps what the next driver needs to look after an instance it did not start. The
// environment is left out: the container has it.
func saveSpec(spec engine.Spec) (*wrapperspb.BytesValue, error) {
	spec.Env = nil
	b, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("save spec: %w", err)
	}
	return wrapperspb.Bytes(b), nil
}

// record is what a container's labels and extension say of its instance.
type record struct {
	id   apron.InstanceID
	spec engine.Spec // without Env
	place
	restarts int
	ready    time.Time // start of the process that has been healthy; zero: none
}

// readRecord reads a container that createContainer made; ours is false for anybody else's.
func readRecord(c containers.Container) (r record, ours bool, err error) {
	if c.Labels[labelRevision] == "" {
		return record{}, false, nil
	}
	r = record{id: apron.InstanceID(c.ID)}
	ext, ok := c.Extensions[extensionSpec]
	if !ok {
		return r, true, fmt.Errorf("read container %s: it has no spec", c.ID)
	}
	var saved wrapperspb.BytesValue
	if err := proto.Unmarshal(ext.GetValue(), &saved); err != nil {
		return r, true, fmt.Errorf("read spec of container %s: %w", c.ID, err)
	}
	if err := json.Unmarshal(saved.GetValue(), &r.spec); err != nil {
		return r, true, fmt.Errorf("read spec of container %s: %w", c.ID, err)
	}
	if r.addr, err = netip.ParseAddr(c.Labels[labelAddress]); err != nil {
		return r, true, fmt.Errorf("read address of container %s: %w", c.ID, err)
	}
	var run specs.Spec
	if err := json.Unmarshal(c.Spec.GetValue(), &run); err != nil {
		return r, true, fmt.Errorf("read runtime spec of container %s: %w", c.ID, err)
	}
	r.ids = idsIn(&run)
	if v := c.Labels[labelRestarts]; v != "" {
		if r.restarts, err = strconv.Atoi(v); err != nil {
			return r, true, fmt.Errorf("read restarts of container %s: %w", c.ID, err)
		}
	}
	if v := c.Labels[labelReady]; v != "" {
		ns, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return r, true, fmt.Errorf("read start time of container %s: %w", c.ID, err)
		}
		r.ready = time.Unix(0, ns)
	}
	return r, true, nil
}
