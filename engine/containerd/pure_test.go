package containerd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"apron"
)

func TestResolvConf(t *testing.T) {
	for name, row := range map[string]struct {
		host, want string
		any        bool
	}{
		"plain":         {"nameserver 10.0.0.2\nsearch example.com\n", "nameserver 10.0.0.2\nsearch example.com\n", true},
		"loopback only": {"nameserver 127.0.0.53\noptions edns0\n", "options edns0\n", false},
		"mixed":         {"# c\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver\t192.0.2.1", "nameserver 192.0.2.1\n", true},
		"empty":         {"", "", false},
	} {
		got, any := resolvConf([]byte(row.host))
		if got != row.want || any != row.any {
			t.Errorf("%s: got %q, %v, want %q, %v", name, got, any, row.want, row.any)
		}
	}
}

func FuzzResolvConf(f *testing.F) {
	f.Add([]byte("nameserver 127.0.0.1\nnameserver 10.0.0.1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		conf, _ := resolvConf(b)
		for line := range strings.Lines(conf) {
			if v, ok := strings.CutPrefix(line, "nameserver "); ok {
				if a, err := netip.ParseAddr(strings.Fields(v)[0]); err != nil || a.IsLoopback() {
					t.Errorf("let %q through", line)
				}
			}
		}
	})
}

func TestLogTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	var b strings.Builder // as containerd's own shim writes it
	for n := range 100 {
		fmt.Fprintf(&b, "line %d\n", n)
	}
	if err := os.WriteFile(path+rawSuffix, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	got := logTail(path, 0)
	if len(got) != apron.MaxFailureLog || got[0] != "line 50" || got[len(got)-1] != "line 99" {
		t.Errorf("tail is %q", got)
	}
	if diff := cmp.Diff([]string{"line 99"}, logTail(path, int64(b.Len()-len("line 99\n")))); diff != "" {
		t.Errorf("tail from an offset (-want +got):\n%s", diff)
	}
	if got := logTail(path, 1<<40); len(got) != apron.MaxFailureLog {
		t.Errorf("tail of a log cut meanwhile is %q", got)
	}
	if got := logTail(filepath.Join(t.TempDir(), "absent"), 0); got != nil {
		t.Errorf("tail of no log is %q", got)
	}
}

func TestBoundRawLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	shim, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer shim.Close()
	for _, row := range []struct{ write, want string }{{"one\n", "one\n"}, {"two\n", ""}, {"three\n", "three\n"}} {
		if _, err := shim.WriteString(row.write); err != nil {
			t.Fatal(err)
		}
		if err := boundRawLog(path, 6); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != row.want {
			t.Errorf("after %q the file has %q, %v, want %q", row.write, b, err, row.want)
		}
	}
	if err := boundRawLog(path+"absent", 4); err != nil {
		t.Error(err)
	}
}

func FuzzShowLine(f *testing.F) {
	f.Add([]byte("b\xff\x00\r"))
	f.Add([]byte(strings.Repeat("x", 5000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.ReplaceAll(b, []byte{'\n'}, nil) // lines have been told apart
		if l := showLine(b); !utf8.ValidString(l) || strings.ContainsAny(l, "\n\x00") || len(l) > 3*maxLineBytes {
			t.Errorf("bad line %q", l)
		}
	})
}

func TestCatches(t *testing.T) {
	status := []byte("Name:\tx\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000004002\n")
	if !catches(status, unix.SIGTERM) || catches(status, unix.SIGHUP) || !catches(status, unix.SIGINT) {
		t.Error("signal mask misread")
	}
	if catches([]byte("SigCgt:\tzz\n"), unix.SIGTERM) || catches(nil, unix.SIGTERM) {
		t.Error("garbage catches signals")
	}
}

func TestMountsBelow(t *testing.T) {
	info := []byte("1 0 8:1 / / rw - ext4 /dev/x rw\n" +
		"2 1 0:4 net:[4] /d/run/netns/a rw - nsfs nsfs rw\n" +
		"3 1 0:5 / /d/with\\040space rw - overlay o rw\n" +
		"4 1 0:5 / /data rw - overlay o rw\nbroken\n")
	if diff := cmp.Diff([]string{"/d/run/netns/a", "/d/with space"}, mountsBelow(info, "/d")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzMountsBelow(f *testing.F) {
	f.Add([]byte("2 1 0:4 net:[4] /d/run rw - nsfs nsfs rw\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range mountsBelow(b, "/d") {
			if !strings.HasPrefix(p, "/d/") {
				t.Errorf("would unmount %q", p)
			}
		}
	})
}

func TestIsShim(t *testing.T) {
	argv := "/x/" + shimName + "\x00-namespace\x00apron\x00-id\x00i\x00-address\x00/d/run/engine.sock\x00"
	if !isShim([]byte(argv), "/d/run/engine.sock") {
		t.Error("own shim not recognised")
	}
	for _, other := range []string{"", "sh\x00-address\x00/d/run/engine.sock\x00", strings.Replace(argv, "/d/", "/e/", 1), shimName + "\x00-address"} {
		if isShim([]byte(other), "/d/run/engine.sock") {
			t.Errorf("%q taken for a shim", other)
		}
	}
}

func TestBuildSubnet(t *testing.T) {
	for subnet, want := range map[string]string{"198.18.16.0/20": "198.18.31.192/26", "198.19.240.0/20": "198.19.255.192/26"} {
		p := netip.MustParsePrefix(subnet)
		part := buildSubnet(p)
		if part.String() != want {
			t.Errorf("builds use %s of %s, want %s", part, subnet, want)
		}
		instances := newAddresses(p)
		instances.reserve(part)
		for {
			addr, err := instances.take()
			if err != nil {
				break
			}
			if part.Contains(addr) {
				t.Fatalf("%s was given to an instance and is a build's", addr)
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	a := newAddresses(netip.MustParsePrefix("198.18.0.0/29")) // .1 is the bridge, .7 broadcast
	if !a.claim(netip.MustParseAddr("198.18.0.3")) || a.claim(netip.MustParseAddr("198.18.0.3")) ||
		a.claim(netip.MustParseAddr("198.18.0.9")) {
		t.Error("claim is wrong")
	}
	var got []string
	for range 4 {
		addr, err := a.take()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, addr.String())
	}
	if diff := cmp.Diff([]string{"198.18.0.2", "198.18.0.4", "198.18.0.5", "198.18.0.6"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := a.take(); err == nil {
		t.Error("took an address of a full subnet")
	}
	a.release(netip.MustParseAddr("198.18.0.4"))
	if addr, err := a.take(); err != nil || addr.String() != "198.18.0.4" {
		t.Errorf("took %s, %v", addr, err)
	}
}

func TestBackOff(t *testing.T) {
	var b backOff
	for _, want := range []time.Duration{20, 40, 80, 160} {
		if got := b.next() / time.Millisecond; got < want*8/10-1 || got > want*12/10 {
			t.Errorf("waits %d ms, want about %d", got, want)
		}
	}
	for range 20 {
		b.next()
	}
	if got := b.next(); got > maxBackOff*12/10 {
		t.Errorf("waits %s", got)
	}
	b.healthy(settled - 1)
	if got := b.next(); got < maxBackOff/2 {
		t.Errorf("waits %s after a short life", got)
	}
	b.healthy(settled)
	if got := b.next(); got > 2*firstBackOff {
		t.Errorf("waits %s after a healthy life", got)
	}
}

func TestFailureOf(t *testing.T) {
	for name, row := range map[string]struct {
		exit  exit
		lines []string
		want  string
	}{
		"not executed":      {exit{255, true, true}, []string{"exec ./app: permission denied"}, "could not be started: exec ./app: permission denied"},
		"wrong format":      {exit{255, true, true}, []string{"exec /app: exec format error"}, "neither a program"},
		"no loader":         {exit{255, true, true}, []string{"exec /app: no such file or directory"}, "not the interpreter or loader"},
		"other status":      {exit{1, true, true}, []string{"exec /app: exec format error"}, "exit code: 1"},
		"after other lines": {exit{255, true, true}, []string{"hello", "exec /app: exec format error"}, "exit code: 255"},
		"other words":       {exit{255, true, true}, []string{"executive error"}, "exit code: 255"},
		"silent":            {exit{255, true, true}, nil, "exit code: 255"},
		"signal":            {exit{139, true, true}, nil, "SIGSEGV"},
		"unseen":            {exit{-1, false, true}, []string{"exec /app: exec format error"}, "was ended because its runtime was killed from outside."},
		"long gone":         {exit{-1, false, false}, nil, "because the machine was restarted, or its runtime was killed from outside, while nobody watched."},
	} {
		if f := failureOf(row.exit, false, row.lines); !strings.Contains(f.Summary(), row.want) {
			t.Errorf("%s: failure reads %q, want %q in it", name, f.Summary(), row.want)
		}
	}
}

func TestStartReason(t *testing.T) {
	err := fmt.Errorf("make process: failed to create shim task: OCI runtime create failed: runc create failed: " +
		"unable to start container process: error during container init: exec: \"/nope\": no such file or directory: unknown")
	if got, want := startReason(err), "exec: \"/nope\": no such file or directory"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCgroupVersions runs both drivers over directories that look like the kernel's.
func TestCgroupVersions(t *testing.T) {
	root := t.TempDir()
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("v1/cpu/g/cpu.cfs_quota_us", "")
	write("v1/memory/g/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
	write("v1/pids/g/cgroup.procs", "12\n13\n")
	write("v1/cpuacct/g/cpuacct.usage", "1500000000\n")
	write("v1/memory/g/memory.usage_in_bytes", "1000\n")
	write("v1/memory/g/memory.stat", "inactive_file 7\ntotal_inactive_file 300\n")
	write("v2/g/cpu.stat", "usage_usec 1500000\nuser_usec 1\n")
	write("v2/g/memory.current", "1000\n")
	write("v2/g/memory.stat", "anon 5\ninactive_file 300\n")
	write("v2/g/cpu.max", "")
	write("v2/g/memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
	write("v2/g/cgroup.procs", "12\n13\n")
	for name, row := range map[string]struct {
		cgroups
		cpu, want string
	}{
		"v1": {cgroupV1{filepath.Join(root, "v1")}, "v1/cpu/g/cpu.cfs_quota_us", "25000"},
		"v2": {cgroupV2{filepath.Join(root, "v2")}, "v2/g/cpu.max", "25000 100000"},
	} {
		if err := row.limitCPU("/g", 250); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if b, err := os.ReadFile(filepath.Join(root, row.cpu)); err != nil || string(b) != row.want {
			t.Errorf("%s: limit is %q, %v, want %q", name, b, err, row.want)
		}
		if n, err := row.oomKills("/g"); n != 2 || err != nil {
			t.Errorf("%s: %d kills, %v", name, n, err)
		}
		if pids, err := row.processes("/g"); !cmp.Equal(pids, []int{12, 13}) || err != nil {
			t.Errorf("%s: processes %v, %v", name, pids, err)
		}
		if err := row.remove("/absent"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if cpu, memory, err := row.usage("/g"); cpu != 1500*time.Millisecond || memory != 700 || err != nil {
			t.Errorf("%s: usage is %s and %d bytes, %v", name, cpu, memory, err)
		}
		if err := row.limitCPU("/absent", 250); err == nil {
			t.Errorf("%s: limited a group that is not there", name)
		}
	}
}

// needGroups skips a test that makes control groups where it cannot, and fails in CI, where it can.
func needGroups(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("control groups need root")
	}
	t.Skip("control groups need root")
}

// TestFreeze freezes a process on every version this kernel has; version 2 can freeze also where its
// controllers are still version 1's.
func TestFreeze(t *testing.T) {
	needGroups(t)
	versions := map[string]cgroups{}
	for name, v := range map[string]struct {
		mark string
		cgroups
	}{
		"v1":      {"/sys/fs/cgroup/freezer/tasks", cgroupV1{cgroupRoot}},
		"v2":      {"/sys/fs/cgroup/cgroup.controllers", cgroupV2{cgroupRoot}},
		"unified": {"/sys/fs/cgroup/unified/cgroup.controllers", cgroupV2{cgroupRoot + "/unified"}},
	} {
		if _, err := os.Stat(v.mark); err == nil {
			versions[name] = v.cgroups
		}
	}
	if len(versions) == 0 {
		t.Fatal("this machine has no control groups")
	}
	for name, cg := range versions {
		t.Run(name, func(t *testing.T) { testFreeze(t, cg) })
	}
}

// TestCgroupsInContainer has a root that is a group with a process in it, as a container's is.
func TestCgroupsInContainer(t *testing.T) {
	needGroups(t)
	top := cgroupV2{cgroupRoot}
	if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err != nil {
		t.Skip("the controllers are version 1's")
	}
	outer := fmt.Sprintf("/apron-container-%d", os.Getpid())
	if err := top.make(outer, servicesShares); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if err := top.remove(outer); err != nil {
			t.Error(err)
		}
	}()
	if err := top.join(outer, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	inner := cgroupV2{cgroupRoot + outer}
	for _, group := range []string{"/apron/platform", "/apron-build"} { // as an engine has it
		if err := inner.make(group, buildShares); err != nil {
			t.Fatal(err)
		}
	}
	if err := inner.bound("/apron-build", 64<<20, 10); err != nil {
		t.Error(err)
	}
	if err := inner.idle("/apron-build", true); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, group := range []string{"/apron/platform", "/apron-build"} {
		if err := inner.join(group, cmd.Process.Pid); err != nil {
			t.Error(err)
		}
		if pids, err := inner.processes(group); !cmp.Equal(pids, []int{cmd.Process.Pid}) || err != nil {
			t.Errorf("processes %v, %v, want %d", pids, err, cmd.Process.Pid)
		}
	}
}

// TestCgroupShares compares groups with one that was made and left alone, as those of others are.
func TestCgroupShares(t *testing.T) {
	for shares, want := range map[uint64]uint64{2: 1, buildShares: 25, 1024: 100, treeShares: 400, 262_144: 10_000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares are weight %d, want %d", shares, got, want)
		}
	}
	needGroups(t)
	cg, err := detectCgroups()
	if err != nil {
		t.Fatal(err)
	}
	name := "cpu.shares"
	if _, ok := cg.(cgroupV2); ok {
		name = "cpu.weight"
	}
	share := func(group string) uint64 {
		t.Helper()
		n, err := readNumber(cpuControl(cg, group, name))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	top := fmt.Sprintf("/apron-shares-%d", os.Getpid())
	others := top + "-others"
	t.Cleanup(func() {
		if err := errors.Join(cg.remove(top), cg.remove(others)); err != nil {
			t.Error(err)
		}
	})
	if err := cg.make(top, treeShares); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(cpuControl(cg, others, name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, others := share(top), share(others); got*1024 != others*treeShares {
		t.Errorf("the tree has %d where others have %d", got, others)
	}
}

func testFreeze(t *testing.T, cg cgroups) {
	group := fmt.Sprintf("/apron-freeze-%d", os.Getpid())
	cmd := exec.Command("cat") // answers as long as it runs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if err := cg.remove(group); err != nil {
			t.Error(err)
		}
	}()
	settle(t, cg, group, cmd.Process.Pid)
	if err := cg.freeze(group, true); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "anybody there?")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		answer <- line
	}()
	select {
	case got := <-answer:
		t.Errorf("a frozen process answered %q", got)
	case <-time.After(50 * time.Millisecond): // nothing can tell that nothing happens
	}
	if err := cg.freeze(group, false); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "anybody there?\n" {
		t.Errorf("a thawed process answered %q", got)
	}
}

// settle moves a process into a new group where it can be frozen, as runc does with instances.
func settle(t *testing.T, cg cgroups, group string, pid int) {
	t.Helper()
	dir := ""
	switch c := cg.(type) {
	case cgroupV1:
		dir = filepath.Join(c.root, "freezer", group)
	case cgroupV2:
		dir = filepath.Join(c.root, group)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeControl(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		t.Fatal(err)
	}
}
