package containerd

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// FileSystems are those that bound projects, and how tests make and mount them.
func FileSystems() map[string]FileSystem {
	return map[string]FileSystem{
		"ext4": {Make: []string{"mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota"}, Options: "loop,prjquota"},
		"xfs":  {Make: []string{"mkfs.xfs", "-q"}, Options: "loop,pquota"},
	}
}

// FileSystem is how a file system is made in a file and mounted.
type FileSystem struct {
	Make    []string // program and arguments; the file follows
	Options string   // of mount
}

// Mount returns where a new one is mounted until the test is over. It skips the test where the kernel
// has no project quotas for it.
func (fs FileSystem) Mount(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	dir, err := os.MkdirTemp("", "apron") // a short path, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 600<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(argv ...string) (string, error) {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		return string(out), err
	}
	if out, err := run(append(fs.Make, image)...); err != nil {
		t.Fatalf("%v: %v\n%s", fs.Make, err, out)
	}
	if out, err := run("mount", "-o", fs.Options, image, at); err != nil {
		// Whatever it is that does not work, it must be the quotas.
		if out, err := run("mount", "-o", "loop,ro", image, at); err != nil {
			t.Fatalf("mount: %v\n%s", err, out)
		}
		_, _ = run("umount", at)
		t.Skipf("the kernel has no project quotas for this file system: %s", out)
	}
	t.Cleanup(func() {
		if out, err := run("umount", at); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	if err := checkProjects(at); err != nil {
		t.Skipf("the kernel has no project quotas for this file system: %v", err)
	}
	return at
}

func TestProjectQuotas(t *testing.T) {
	for name, fs := range FileSystems() {
		t.Run(name, func(t *testing.T) { testProjectQuotas(t, fs.Mount(t)) })
	}
}

func testProjectQuotas(t *testing.T, at string) {
	q := openQuotas(Config{Dir: at, Log: slog.New(slog.DiscardHandler)})
	if !q.inForce {
		t.Fatal("quotas are not in force")
	}
	top, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	snapshot := func(name string) string {
		dir := filepath.Join(at, name)
		for _, d := range []string{dir, dir + "/fs", dir + "/work"} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := q.bound(dir+"/fs", 1<<20); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	project := func(dir string) uint32 {
		f, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p, err := projectOf(f)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	limit := func(project uint32) uint64 {
		u, err := useOf(top, project)
		if err != nil {
			t.Fatal(err)
		}
		return u.HardBlocks
	}

	a, b := snapshot("a"), snapshot("b")
	pa, pb := project(a+"/fs"), project(b+"/fs")
	if pa < firstProject || pb < firstProject || pa == pb || project(a+"/work") != pa {
		t.Fatalf("projects are %d and %d, work directory %d: want two of ours", pa, pb, project(a+"/work"))
	}
	if limit(pa) != 1024 || limit(pb) != 1024 {
		t.Errorf("limits are %d and %d KiB, want 1024", limit(pa), limit(pb))
	}
	if err := os.Mkdir(a+"/fs/below", 0o755); err != nil {
		t.Fatal(err)
	}
	if p := project(a + "/fs/below"); p != pa {
		t.Errorf("a new directory belongs to project %d, want %d", p, pa)
	}
	if err := q.bound(a+"/fs", 2<<20); err != nil || project(a+"/fs") != pa || limit(pa) != 2048 {
		t.Errorf("bound again: %v, project %d, limit %d KiB", err, project(a+"/fs"), limit(pa))
	}
	if err := unbound(a + "/fs"); err != nil || limit(pa) != 0 {
		t.Errorf("unbound: %v, limit %d KiB", err, limit(pa))
	}

	// What crashed while it removed b, and a stranger's quota that is nobody's business.
	const foreign = 7
	if err := limitProject(top, foreign, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := forgetProjects(at); err != nil || limit(pb) != 1024 {
		t.Errorf("a project with files has the limit %d KiB after a sweep (%v), want 1024", limit(pb), err)
	}
	if err := os.RemoveAll(b); err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(context.Background(), "sync", "-f", at).Run(); err != nil { // xfs frees later
		t.Fatal(err)
	}
	if err := forgetProjects(at); err != nil || limit(pb) != 0 || limit(foreign) != 1024 {
		t.Errorf("sweep: %v, limits %d and %d KiB, want 0 and 1024", err, limit(pb), limit(foreign))
	}

	// Whatever number the next one begins at, another's is not taken.
	c := filepath.Join(at, "c")
	if err := os.MkdirAll(c+"/fs", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(c + "/fs")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first, err := freeProject(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := limitProject(f, first, 1<<20); err != nil {
		t.Fatal(err)
	}
	if second, err := freeProject(f); err != nil || second != first+1 {
		t.Errorf("beside project %d, %d is free (%v), want the next", first, second, err)
	}
}
