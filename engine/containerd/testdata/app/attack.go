package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attack tries one thing an instance must not be able to do; nil means that it worked.
type attack func() error

// attacks are the classic ways out of a container, and to its neighbours.
func attacks() map[string]attack {
	all := map[string]attack{
		"mount a file system":       func() error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
		"mount proc anew":           func() error { return unix.Mount("none", "/tmp", "proc", 0, "") },
		"bind the root elsewhere":   func() error { return unix.Mount("/", "/tmp", "", unix.MS_BIND, "") },
		"remount the root":          func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT, "") },
		"unmount a masked path":     func() error { return unix.Unmount("/proc/kcore", unix.MNT_DETACH) },
		"pivot the root":            func() error { return unix.PivotRoot("/", "/tmp") },
		"open a mount tree":         func() error { _, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE); return err },
		"make a user namespace":     func() error { return unshare(unix.CLONE_NEWUSER) },
		"make a mount namespace":    func() error { return unshare(unix.CLONE_NEWNS) },
		"make a network namespace":  func() error { return unshare(unix.CLONE_NEWNET) },
		"enter a namespace":         enterNamespace,
		"make a raw disk":           makeDisk,
		"open a file by its handle": openByHandle,
		"read the kernel's memory":  readsSomething("/proc/kcore"),
		"read the kernel's log":     func() error { _, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 64)); return err },
		"read the firmware":         readsSomething("/sys/firmware/acpi/tables/DSDT"),
		"read the kernel's keys":    readsSomething("/proc/keys"),
		"use another's keyring":     func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true); return err },
		"add a key": func() error {
			_, err := unix.AddKey("user", "x", []byte("x"), unix.KEY_SPEC_SESSION_KEYRING)
			return err
		},
		"load a kernel module":       func() error { return unix.InitModule([]byte("x"), "") },
		"load another kernel":        func() error { return errno(unix.Syscall6(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0, 0, 0)) },
		"reboot":                     func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) },
		"set the clock":              func() error { return unix.Settimeofday(&unix.Timeval{Sec: time.Now().Unix()}) },
		"set the host name":          func() error { return unix.Sethostname([]byte("owned")) },
		"load a BPF program":         func() error { return errno(unix.Syscall(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&[128]byte{})), 72)) },
		"trace the kernel":           tracePerformance,
		"handle others' page faults": func() error { return errno(unix.Syscall(unix.SYS_USERFAULTFD, 0, 0, 0)) },
		"use io_uring": func() error {
			return errno(unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&[256]byte{})), 0))
		},
		"raise its priority":         func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -20) },
		"raise its limits":           raiseLimits,
		"gain a capability":          gainCapability,
		"forge packets":              rawSocket(unix.AF_PACKET, unix.SOCK_RAW, int(unix.ETH_P_ALL)<<8&0xff00),
		"forge IP packets":           rawSocket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW),
		"take another address":       takeAddress,
		"see a process of the host":  seeForeignProcesses,
		"reach a process of another": func() error { return reachRoot(os.Getpid() + 1) },
		"see the host's interfaces":  seeInterfaces,
	}
	for _, path := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/panic_on_oom", "/proc/sys/net/ipv4/ip_forward",
		"/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled",
		"/etc/hosts", "/etc/resolv.conf", "/dev/kmsg", "/dev/mem", "/dev/sda", "/dev/vda",
	} {
		all["write "+path] = func() error { return writes(path) }
	}
	for _, pattern := range []string{"release_agent", "cgroup.procs", "cpu.cfs_quota_us", "cpu.max", "memory.limit_in_bytes", "memory.max", "devices.allow"} {
		all["write the control file "+pattern] = func() error { return writesAny("/sys/fs/cgroup/*/"+pattern, "/sys/fs/cgroup/"+pattern) }
	}
	return all
}

// handleAttack runs the attacks and answers with the names of those that worked, a line each, and
// last with how many were tried.
func handleAttack(w http.ResponseWriter, _ *http.Request) {
	all := attacks()
	var worked []string
	for name, try := range all {
		if try() == nil {
			worked = append(worked, name)
		}
	}
	slices.Sort(worked)
	for _, name := range worked {
		fmt.Fprintln(w, name)
	}
	fmt.Fprintf(w, "tried %d\n", len(all))
}

func errno(_, _ uintptr, e unix.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

// unshare tries it on a thread that ends with it.
func unshare(flags int) error {
	if flags == unix.CLONE_NEWUSER {
		// Not allowed with threads, whatever the filters say: a process of its own has none.
		p, err := os.StartProcess("/app", []string{"/app", "exit"}, &os.ProcAttr{Sys: &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}})
		if err == nil {
			_, _ = p.Wait()
		}
		return err
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- unix.Unshare(flags)
	}()
	return <-done
}

func enterNamespace() error {
	fd, err := unix.Open("/proc/1/ns/net", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- unix.Setns(fd, unix.CLONE_NEWNET)
	}()
	return <-done
}

func makeDisk() error {
	for _, dev := range []uint64{unix.Mkdev(8, 0), unix.Mkdev(253, 0), unix.Mkdev(254, 0), unix.Mkdev(1, 1)} {
		kind := uint32(unix.S_IFBLK)
		if unix.Major(dev) == 1 {
			kind = unix.S_IFCHR
		}
		if err := unix.Mknod("/tmp/disk", kind|0o600, int(dev)); err == nil {
			return nil
		}
	}
	return unix.EPERM
}

// openByHandle is the heart of the "shocker" exploit: inode 2 of whatever file system is below.
func openByHandle() error {
	fd, err := unix.Open("/etc/hosts", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	h, err := unix.OpenByHandleAt(fd, unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0}), unix.O_RDONLY)
	if err == nil {
		unix.Close(h)
	}
	return err
}

func readsSomething(path string) attack {
	return func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.Read(make([]byte, 16))
		return err
	}
}

func tracePerformance() error {
	fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}, -1, 0, -1, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func raiseLimits() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	if l.Max > 65536 {
		return nil
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: l.Max + 1, Max: l.Max + 1})
}

func gainCapability() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	all := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
	return unix.Capset(&hdr, &all[0])
}

func rawSocket(domain, kind, proto int) attack {
	return func() error {
		fd, err := unix.Socket(domain, kind, proto)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
}

// takeAddress asks the kernel to give eth0 another address.
func takeAddress() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("eth0")
	if err != nil {
		return err
	}
	if err := ifr.SetInet4Addr([]byte{198, 18, 0, 1}); err != nil {
		return err
	}
	return errno(unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFADDR, uintptr(unsafe.Pointer(ifr))))
}

// seeForeignProcesses looks for processes that this one has not started.
func seeForeignProcesses() error {
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err == nil && len(b) > 0 && !strings.HasPrefix(string(b), "/app") {
			return nil
		}
	}
	return errors.New("all processes are this application's")
}

func reachRoot(pid int) error {
	_, err := os.ReadDir(fmt.Sprintf("/proc/%d/root/", pid))
	return err
}

func seeInterfaces() error {
	all, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range all {
		if i.Name != "lo" && i.Name != "eth0" {
			return nil
		}
	}
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "lo" && e.Name() != "eth0" {
			return nil
		}
	}
	return errors.New("only its own")
}

// writes opens a file for writing and writes back what is in it, so that nothing changes when it can.
func writes(path string) error {
	b, _ := os.ReadFile(path)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if path == "/proc/sysrq-trigger" || strings.HasPrefix(path, "/dev/") {
		return nil // to have it open is enough
	}
	_, err = f.Write(b[:min(len(b), 64)])
	return err
}

func writesAny(patterns ...string) error {
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return err
		}
		for _, path := range found {
			if writes(path) == nil {
				return nil
			}
		}
	}
	return unix.EPERM
}
