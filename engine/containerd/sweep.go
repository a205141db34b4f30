package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"

	"apron"
	"apron/engine/containerd/logfile"
)

// instanceName tells what is an instance's from what is anybody else's in places they share.
var instanceName = regexp.MustCompile(`^[0-9a-f]{32}$`)

// sweep removes what a crash, of whichever part, left of instances that are not known: processes and
// control groups, links, namespaces, name files, logs, root file systems, and the leases of pulls that
// will not go on; and the pipes of commands, which nobody waits for any more. What is not of this data
// directory's instances it leaves alone. It goes on after an error.
func (s *session) sweep(ctx context.Context, known map[apron.InstanceID]bool) error {
	return errors.Join(
		s.sweepGroups(ctx, known),
		endStrayShims(ctx, s.cfg.Dir, func(id apron.InstanceID) bool { return instanceName.MatchString(string(id)) && !known[id] }),
		s.sweepBundles(ctx, known),
		s.sweepLinks(known),
		s.sweepSpares(),
		s.sweepFiles(known),
		os.RemoveAll(fifoDir(s.cfg.Dir)),
		s.sweepSnapshots(ctx, known),
		s.sweepLeases(ctx),
	)
}

// sweepGroups ends the processes of unknown instances and removes their control groups.
func (s *session) sweepGroups(ctx context.Context, known map[apron.InstanceID]bool) error {
	top := servicesOf(s.cfg.Dir)
	groups, err := s.cgroups.groups(top)
	if err != nil {
		return err
	}
	var errs []error
	for _, g := range groups {
		service, instance, ok := strings.Cut(strings.TrimPrefix(g, top+"/"), "/")
		id, _, _ := strings.Cut(instance, "/")
		if !ok || service == "" || known[apron.InstanceID(id)] {
			continue
		}
		errs = append(errs, s.clearGroup(ctx, g))
	}
	for _, g := range groups {
		if service := strings.TrimPrefix(g, top+"/"); g != top && !strings.Contains(service, "/") {
			_ = s.cgroups.remove(g) // busy while it has known instances
		}
	}
	return errors.Join(errs...)
}

// sweepBundles removes what shims of unknown instances have left, and bundles that an engine was killed
// over removing: it gives them a hidden name first, and never looks at those again.
func (s *session) sweepBundles(ctx context.Context, known map[apron.InstanceID]bool) error {
	entries, err := os.ReadDir(s.bundleDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		name, hidden := strings.CutPrefix(e.Name(), ".")
		switch id := apron.InstanceID(name); {
		case !instanceName.MatchString(name):
		case hidden:
			errs = append(errs, os.RemoveAll(filepath.Join(s.bundleDir(), e.Name())))
		case !known[id]:
			errs = append(errs, s.clearTask(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// clearGroup ends whatever runs in a control group and removes it.
func (s *session) clearGroup(ctx context.Context, group string) error {
	pids, err := s.cgroups.processes(group)
	if errors.Is(err, os.ErrNotExist) {
		return s.cgroups.remove(group)
	}
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		_ = s.cgroups.freeze(group, false) // what is frozen does not die; a group without the control is not
		if err := kill(ctx, pids); err != nil {
			return err
		}
	}
	return s.cgroups.remove(group)
}

// sweepLinks removes the links of unknown instances from the bridge.
func (s *session) sweepLinks(known map[apron.InstanceID]bool) error {
	names := map[string]bool{}
	for id := range known {
		names[linkName(id)] = true
	}
	links, err := dump("network links", netlink.LinkList)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		a := l.Attrs()
		if a.MasterIndex == s.net.bridge.Attrs().Index && strings.HasPrefix(a.Name, linkPrefix) && !names[a.Name] {
			errs = append(errs, gone(netlink.LinkDel(l)))
		}
	}
	return errors.Join(errs...)
}

// sweepFiles removes the files of unknown instances.
func (s *session) sweepFiles(known map[apron.InstanceID]bool) error {
	var errs []error
	for _, dir := range []string{"run/netns", "run/userns", "run/instance", "log/instance"} {
		entries, err := os.ReadDir(filepath.Join(s.cfg.Dir, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("look for leftovers: %w", err)
		}
		for _, e := range entries {
			name, _, _ := strings.Cut(e.Name(), ".")
			if id := apron.InstanceID(name); instanceName.MatchString(name) && !known[id] {
				errs = append(errs, s.removeRemains(id))
			}
		}
	}
	return errors.Join(errs...)
}

// sweepSnapshots removes the root file systems of unknown instances.
func (s *session) sweepSnapshots(ctx context.Context, known map[apron.InstanceID]bool) error {
	sn := s.client.SnapshotService(s.snapshotter)
	var orphans []string
	err := sn.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind == snapshots.KindActive && instanceName.MatchString(i.Name) && !known[apron.InstanceID(i.Name)] {
			orphans = append(orphans, i.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list root file systems: %w", err)
	}
	var errs []error
	for _, name := range orphans {
		s.unboundDisk(ctx, apron.InstanceID(name))
		if err := sn.Remove(ctx, name); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove root file system: %w", err))
		}
	}
	return errors.Join(errs...)
}

// sweepLeases lets go of what an earlier driver was doing: what it had not finished would stay for a
// day. Leases that BuildKit made are its own, and those of pulls keep what the next pull goes on from.
func (s *session) sweepLeases(ctx context.Context) error {
	all, err := s.client.LeasesService().List(ctx)
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	var errs []error
	for _, l := range all {
		if l.Labels[expireLabel] == "" || strings.HasPrefix(l.ID, pullLease) {
			continue
		}
		foreign := false
		for label := range l.Labels {
			foreign = foreign || strings.HasPrefix(label, "buildkit/")
		}
		if foreign {
			continue
		}
		if err := s.client.LeasesService().Delete(ctx, l); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("remove lease: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeRemains removes everything of an instance outside of the engine child.
func (s *session) removeRemains(id apron.InstanceID) error {
	return errors.Join(
		s.net.disconnect(id),
		os.RemoveAll(filesDir(s.cfg.Dir, id)),
		logfile.Remove(logBase(s.cfg.Dir, id)),
	)
}
