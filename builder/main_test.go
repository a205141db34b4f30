package builder_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"go.uber.org/goleak"

	"apron"
	"apron/builder"
	"apron/engine"
	"apron/engine/containerd"
	"apron/engine/enginetest"
	"apron/source"
)

// engineDir makes this test binary play the engine child for the directory it names.
const engineDir = "APRON_TEST_ENGINE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(engineDir); dir != "" {
		os.Exit(playEngine(dir))
	}
	code := m.Run()
	if err := closeRig(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func playEngine(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	err := containerd.Serve(ctx, containerd.ServerConfig{Dir: dir, Log: log, Ready: func() {
		_, _ = os.NewFile(3, "ready").WriteString("\n") // as apron engine does
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// rig is one engine for all tests of the package: base images and caches are made once.
type rig struct {
	dir     string
	engine  *exec.Cmd
	log     bytes.Buffer // what the engine says
	driver  *containerd.Driver
	images  *source.Resolver // finds what the driver fetches
	stop    func() error
	builder *builder.Builder

	packages string // where packages are kept; empty: nowhere
}

// shared holds the rig once a test has needed it.
var shared struct {
	once sync.Once
	rig  *rig
	err  error
}

// needRig returns the rig, or skips the test where there can be none.
func needRig(t testing.TB) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "containers need root")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		skip(t, "base images are made from Debian packages: no apt-get here")
	}
	shared.once.Do(func() { shared.rig, shared.err = openRig(keptPackages()) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	t.Cleanup(func() {
		if t.Failed() && shared.rig.log.Len() > 0 {
			t.Logf("engine child said:\n%s", shared.rig.log.String())
		}
	})
	return shared.rig
}

// skip skips a test, or fails it where none may be skipped.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// keptPackages is where packages are kept for the next run of the tests.
func keptPackages() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(cache, "apron-test", "packages")
}

// openRig starts an engine and what uses it.
func openRig(packages string) (*rig, error) {
	dir, err := os.MkdirTemp("", "apron")
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, packages: packages}
	if err := r.startEngine(); err != nil {
		return nil, err
	}
	if r.images, err = source.New(source.Config{}); err != nil {
		return nil, err
	}
	r.driver = containerd.New(containerd.Config{Dir: dir, Grace: time.Second, Images: func(ctx context.Context, ref string) (containerd.Repository, error) {
		return r.images.Open(ctx, ref)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.driver.Run(ctx) }()
	r.stop = func() error {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	r.builder, err = builder.New(r.config())
	return r, err
}

// startEngine starts an engine child and waits until it is ready: the binary that is tested anyway, which
// is several times as fast as this one when it looks for races.
func (r *rig) startEngine() error {
	exe := os.Getenv("APRON_BIN")
	if exe == "" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return err
		}
	}
	ready, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	r.engine = exec.Command(exe, "engine", "--data", r.dir)
	r.engine.Env = append(os.Environ(), engineDir+"="+r.dir, "APRON_READY_FD=3", "APRON_CONFIG=")
	r.engine.ExtraFiles = []*os.File{w}
	r.engine.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	r.engine.Stderr = &r.log
	err = r.engine.Start()
	_ = w.Close() // otherwise its death would go unnoticed
	if err != nil {
		return err
	}
	steps := bufio.NewReader(ready)
	for line := ""; line != "\n"; { // an empty line: it is ready
		if line, err = steps.ReadString('\n'); err != nil {
			return fmt.Errorf("engine child did not get ready: %w\n%s", err, r.log.String())
		}
	}
	return nil
}

// config is that of the rig's builder.
func (r *rig) config() builder.Config {
	return builder.Config{
		Dir: filepath.Join(r.dir, "builder"), Engine: containerd.SocketPath(r.dir), Builds: containerd.BuildSocketPath(r.dir),
		Namespace: containerd.DefaultNamespace, Substitute: true, Packages: r.packages,
	}
}

func closeRig() error {
	if shared.rig == nil {
		return nil
	}
	return shared.rig.close()
}

// close ends everything and removes it.
func (r *rig) close() error {
	var errs []error
	if r.builder != nil {
		errs = append(errs, r.builder.Close())
	}
	if r.stop != nil {
		errs = append(errs, r.stop())
	}
	_ = r.engine.Process.Signal(syscall.SIGTERM)
	_ = r.engine.Wait() // its exit status is that of a signal
	r.images.Close()
	http.DefaultClient.CloseIdleConnections()
	errs = append(errs, containerd.Teardown(context.Background(), r.dir), os.RemoveAll(r.dir))
	return errors.Join(errs...)
}

// build builds and returns the result with the log.
func (r *rig) build(t testing.TB, p builder.Plan) (builder.Result, []string) {
	t.Helper()
	var log []string
	start := time.Now()
	result, err := r.builder.Build(t.Context(), p, func(line string) { log = append(log, line) })
	t.Logf("build took %s\n%s", time.Since(start).Round(time.Millisecond), strings.Join(log, "\n"))
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return result, log
}

// serve starts an instance of the image and returns its first answer at path.
func (r *rig) serve(t testing.TB, p builder.Plan, image apron.Image, path string) string {
	t.Helper()
	w := enginetest.StartWatch(t, r.driver)
	spec := engine.Spec{
		Revision: p.Revision, Service: p.Service, Image: image, Port: p.Port, MilliCPU: 1000, MemoryMiB: 512,
		Env:         []string{fmt.Sprintf("PORT=%d", p.Port)},
		HealthCheck: apron.HealthCheck{Protocol: apron.HealthCheckTCP, Interval: time.Second, Timeout: time.Second, HealthyThreshold: 1, UnhealthyThreshold: 5},
	}
	if err := r.driver.Prepare(t.Context(), spec); err != nil {
		t.Fatalf("Prepare: %v", err)
	}
	t.Cleanup(func() { _ = r.driver.Remove(context.Background(), p.Revision) })
	if err := r.driver.Scale(t.Context(), spec, 1); err != nil {
		t.Fatalf("Scale: %v", err)
	}
	instance := w.Ready(t, spec.Revision, 1)[0]
	resp, err := http.Get("http://" + instance.Addr.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// another returns a second builder on the same engine.
func (r *rig) another(t testing.TB, cfg builder.Config) *builder.Builder {
	t.Helper()
	b, err := builder.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// gone waits until no process with that command line is left.
func (r *rig) gone(t testing.TB, command string) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; {
		running := false
		cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range cmdlines {
			b, err := os.ReadFile(name)
			running = running || err == nil && strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " ")) == command
		}
		if !running {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q still runs", command)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(50 * time.Millisecond): // the kernel tells nobody but a parent
		}
	}
}

// records returns the names of all images of the engine.
func (r *rig) records(t testing.TB) (names []string) {
	t.Helper()
	cl, err := client.New(containerd.SocketPath(r.dir), client.WithDefaultNamespace(containerd.DefaultNamespace))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	all, err := cl.ImageService().List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range all {
		names = append(names, img.Name)
	}
	return names
}

// built returns the revisions of a service whose built images are kept.
func (r *rig) built(t testing.TB, service apron.ServiceID) (revisions []string) {
	t.Helper()
	for _, name := range r.records(t) {
		if revision, ok := strings.CutPrefix(name, "apron.build/"+string(service)+":"); ok {
			revisions = append(revisions, revision)
		}
	}
	return revisions
}

// emptyTar returns an archive with one empty directory.
func emptyTar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
