package containerd_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"apron"
	"apron/engine/containerd"
)

// engineDir makes this test binary play the engine child for the directory it names.
const engineDir = "APRON_TEST_ENGINE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(engineDir); dir != "" {
		os.Exit(playEngine(dir))
	}
	goleak.VerifyTestMain(m,
		// The embedded registry's handlers start one per account and have no way to end it.
		goleak.IgnoreAnyFunction("github.com/docker/go-events.(*Broadcaster).run"))
}

func playEngine(dir string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := containerd.JoinEngine(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	err := containerd.Serve(ctx, containerd.ServerConfig{Dir: dir, Log: log, Ready: func() { fmt.Println("ready") }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// needRoot skips a test that makes containers where it cannot, and fails where it must not be skipped.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("containers need root")
	}
	t.Skip("containers need root")
}

// child is a running engine child.
type child struct {
	cmd *exec.Cmd
	out io.Closer
}

// startEngine starts an engine child and waits until it is ready.
func startEngine(t testing.TB, dir string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), engineDir+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, out: out}
	t.Cleanup(func() {
		c.kill()
		if t.Failed() && log.Len() > 0 {
			t.Logf("engine child said:\n%s", log.String())
		}
	})
	line := make([]byte, 6)
	if _, err := io.ReadFull(out, line); err != nil {
		c.kill()
		t.Fatalf("engine child did not get ready: %v\n%s", err, log.String())
	}
	return c
}

func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// stop ends the engine child as its keeper would.
func (c *child) stop(t testing.TB) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("engine child ended with %v", err)
	}
}

// driver is a running Driver.
type driver struct {
	*containerd.Driver
	stop func()
}

func startDriver(t testing.TB, cfg containerd.Config) *driver {
	t.Helper()
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	d := containerd.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return &driver{Driver: d, stop: stop}
}

// newDir returns a data directory that is torn down after the test, with a path short enough for
// sockets.
func newDir(t testing.TB) string { t.Helper(); return newDirIn(t, "") }

// newDirIn is newDir below a directory.
func newDirIn(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "apron")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := containerd.Teardown(context.Background(), dir); err != nil {
			t.Errorf("Teardown: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// images is a registry with the tests' images.
type images struct {
	host  string
	layer v1.Layer
}

func newImages(t testing.TB) *images {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(srv.Close)
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return appTar(t) })
	if err != nil {
		t.Fatal(err)
	}
	return &images{host: strings.TrimPrefix(srv.URL, "http://"), layer: layer}
}

// testApp names the application, built, for where there is no compiler.
const testApp = "APRON_TEST_APP"

// readApp returns the application of testdata/app.
func readApp(t testing.TB) ([]byte, error) {
	if exe := os.Getenv(testApp); exe != "" {
		return os.ReadFile(exe)
	}
	exe := filepath.Join(os.TempDir(), fmt.Sprintf("apron-test-app-%d", os.Getpid()))
	if _, err := os.Stat(exe); err != nil {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, "./testdata/app")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build app: %w\n%s", err, out)
		}
	}
	t.Cleanup(func() { _ = os.Remove(exe) })
	return os.ReadFile(exe)
}

// appTar returns a root file system with the application and a user.
func appTar(t testing.TB) (io.ReadCloser, error) {
	b, err := readApp(t)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	files := []struct {
		name string
		mode int64
		body []byte
	}{
		{"app", 0o755, b},
		{"notaprogram", 0o755, []byte("this is no program\n")},
		{"nointerpreter", 0o755, []byte("#!/nope\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0::/:/app\nweb:x:1234:1234::/:/app\n")},
		{"etc/group", 0o644, []byte("root:x:0:\nweb:x:1234:\n")},
	}
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.body))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.body); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{"tmp/", "proc/", "sys/", "dev/"} {
		if err := w.WriteHeader(&tar.Header{Name: d, Mode: 0o1777, Typeflag: tar.TypeDir}); err != nil {
			return nil, err
		}
	}
	return io.NopCloser(&buf), w.Close()
}

// push makes an image with the configuration and returns it as a revision would name it.
func (r *images) push(t testing.TB, repo string, config v1.Config) apron.Image {
	t.Helper()
	return r.pushPlatform(t, repo, config, "amd64")
}

func (r *images) pushPlatform(t testing.TB, repo string, config v1.Config, arch string) apron.Image {
	t.Helper()
	img := r.build(t, config, arch)
	if err := remote.Write(r.tag(t, repo), img, remote.WithTransport(http.DefaultTransport)); err != nil {
		t.Fatal(err)
	}
	return r.pushed(t, repo, img)
}

// pushIndex makes an image for two platforms; its digest is the index's, as most tags resolve to.
func (r *images) pushIndex(t testing.TB, repo string, config v1.Config) apron.Image {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for _, arch := range []string{"arm64", "amd64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        r.build(t, config, arch),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	if err := remote.WriteIndex(r.tag(t, repo), index, remote.WithTransport(http.DefaultTransport)); err != nil {
		t.Fatal(err)
	}
	return r.pushed(t, repo, index)
}

// pushLayered makes an image that has one layer more than those of push.
func (r *images) pushLayered(t testing.TB, repo string) apron.Image {
	t.Helper()
	more := static.NewLayer(emptyTar(t), types.DockerUncompressedLayer)
	img, err := mutate.AppendLayers(r.build(t, v1.Config{Entrypoint: []string{"/app"}}, "amd64"), more)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r.tag(t, repo), img, remote.WithTransport(http.DefaultTransport)); err != nil {
		t.Fatal(err)
	}
	return r.pushed(t, repo, img)
}

func emptyTar(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := tar.NewWriter(&buf).Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func (r *images) build(t testing.TB, config v1.Config, arch string) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(empty.Image, r.layer)
	if err != nil {
		t.Fatal(err)
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", arch, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	return img
}

func (r *images) tag(t testing.TB, repo string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(r.host+"/"+repo+":latest", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

func (r *images) pushed(t testing.TB, repo string, what interface{ Digest() (v1.Hash, error) }) apron.Image {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	digest, err := what.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return apron.Image{Reference: r.host + "/" + repo + "@" + digest.String(), Digest: digest.String()}
}
