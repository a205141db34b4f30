package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"apron"
)

func netnsPath(dir string, id apron.InstanceID) string {
	return filepath.Join(dir, "run", "netns", string(id))
}

func usernsPath(dir string, id apron.InstanceID) string {
	return filepath.Join(dir, "run", "userns", string(id))
}

// namespaces says which namespaces to make and where to keep them: a network namespace, which belongs
// to a user namespace if there are ids.
type namespaces struct {
	net, user string // paths
	ids       idMap  // the zero value: no user namespace
}

func namespacesOf(dir string, id apron.InstanceID, ids idMap) namespaces {
	return namespaces{net: netnsPath(dir, id), user: usernsPath(dir, id), ids: ids}
}

// make makes the namespaces and binds them to their paths. It returns the network namespace, which has
// no IPv6 and its loopback down.
func (n namespaces) make() (netns.NsHandle, error) {
	err := hold(n.ids, func(pid int) error {
		if n.ids.mapped() {
			if err := bindNamespace(pid, "user", n.user); err != nil {
				return err
			}
		}
		return bindNamespace(pid, "net", n.net)
	})
	if err != nil {
		return netns.None(), err
	}
	ns, err := netns.GetFromPath(n.net)
	if err != nil {
		return netns.None(), fmt.Errorf("open network namespace: %w", err)
	}
	if err := inside(ns, setSwitches); err != nil {
		_ = ns.Close() // the error that matters is the first one
		return netns.None(), err
	}
	return ns, nil
}

// hold calls do with the id of a process that is alone in new namespaces. The process is a copy of
// this one that never runs an instruction of its program: it is stopped as soon as it has been loaded
// (ptrace(2), PTRACE_TRACEME), and killed afterwards.
func hold(ids idMap, do func(pid int) error) error {
	attr := &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL, Cloneflags: unix.CLONE_NEWNET}
	if ids.mapped() {
		// The network namespace comes second, so that it belongs to the user namespace.
		attr.Cloneflags, attr.Unshareflags = unix.CLONE_NEWUSER, unix.CLONE_NEWNET
		attr.UidMappings, attr.GidMappings, attr.GidMappingsEnableSetgroups = sysMap(ids.uids), sysMap(ids.gids), true
	}
	done := make(chan error, 1)
	go func() {
		// The process depends on the thread that started it, not on the goroutine.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- holdHere(attr, do)
	}()
	return <-done
}

func holdHere(attr *syscall.SysProcAttr, do func(pid int) error) error {
	p, err := os.StartProcess("/proc/self/exe", []string{"apron-namespaces"}, &os.ProcAttr{Env: []string{}, Sys: attr})
	if err != nil {
		return fmt.Errorf("start a process in new namespaces: %w", err)
	}
	err = do(p.Pid)
	if kill := p.Kill(); kill != nil && !errors.Is(kill, os.ErrProcessDone) {
		return errors.Join(err, kill)
	}
	_, _ = p.Wait() // how it ended is known
	return err
}

// bindNamespace keeps a namespace of a process at path.
func bindNamespace(pid int, kind, path string) error {
	if err := makePlace(path); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/%s", pid, kind), path, "", unix.MS_BIND, ""); err != nil {
		_ = os.Remove(path) // the error that matters is the first one
		return fmt.Errorf("bind namespace to %s: %w", path, err)
	}
	return nil
}

// makePlace makes a file for a namespace to be mounted on.
func makePlace(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make directory of namespaces: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make place for a namespace: %w", err)
	}
	return f.Close()
}

// inside calls do on a thread that is in the network namespace. The thread is never unlocked, so the
// runtime ends it with the goroutine instead of giving a thread in a foreign namespace to others.
func inside(ns netns.NsHandle, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// setSwitches sets the kernel's switches of the calling thread's network namespace.
func setSwitches() error {
	for name, value := range map[string]string{
		"ipv6/conf/all/disable_ipv6":     "1",
		"ipv6/conf/default/disable_ipv6": "1",
		// Low ports mean nothing here: whoever runs in an instance may have them, as with Docker.
		"ipv4/ip_unprivileged_port_start": "0",
		// And ping needs no raw socket, which nobody gets.
		"ipv4/ping_group_range": "0 65535",
	} {
		err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o600)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // absent: no IPv6 at all
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// removeNetns lets go of a namespace kept at path; its processes, if any, keep it until they end.
func removeNetns(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // no longer a mount point
		}
		if err != nil {
			return fmt.Errorf("unmount namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace %s: %w", path, err)
	}
	return nil
}

// bound reports whether a namespace is kept at path.
func bound(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// probeUserNamespaces returns why instances cannot have user namespaces of their own; nil: they can.
func probeUserNamespaces() error {
	return hold(idsOf(pool().Addr(), ""), func(int) error { return nil })
}
