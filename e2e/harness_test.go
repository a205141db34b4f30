package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron"
	"apron/logs"
	"apron/server"
)

// waitLimit bounds every wait of these tests; under the race detector on a busy machine seconds
// pass quickly.
const waitLimit = 90 * time.Second

// built holds what is compiled once for all tests.
var built struct {
	once     sync.Once
	dir, app string
	err      error
}

// appBinary returns the test application, built for scratch.
func appBinary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "apron-e2e-"); built.err != nil {
			return
		}
		built.app = filepath.Join(built.dir, "app")
		cmd := exec.Command("go", "build", "-o", built.app, "./testdata/app")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build test application: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.app
}

// home is one Apron under test.
type home struct {
	data   string
	flags  []string
	local  server.Local
	client *apprunner.Client
}

// newHome starts an Apron in a directory of its own and stops it when the test ends.
func newHome(t testing.TB, flags ...string) *home {
	t.Helper()
	needRoot(t)
	data, err := os.MkdirTemp("", "apron") // short: unix sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	h := &home{data: data, flags: append([]string{
		"--data=" + data, "--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--https=127.0.0.1:0",
	}, flags...)}
	t.Cleanup(func() {
		if t.Failed() {
			h.dumpLogs(t)
		}
		down(t, data)
		if err := os.RemoveAll(data); err != nil {
			t.Error(err)
		}
	})
	h.start(t)
	return h
}

// start starts the server and returns when it is ready.
func (h *home) start(t testing.TB) {
	t.Helper()
	cfg, err := server.Load("", map[string]any{"data": h.data})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	if _, err := server.Up(ctx, cfg, h.flags); err != nil {
		t.Fatalf("start server: %v", err)
	}
	if h.local, err = server.OpenLocal(h.data); err != nil {
		t.Fatal(err)
	}
	h.connect()
}

// connect makes the client of the server.
func (h *home) connect() {
	h.client = apprunner.New(apprunner.Options{
		Region: h.local.Region, BaseEndpoint: aws.String("http://" + h.local.Listen),
		Credentials: credentials.NewStaticCredentialsProvider(h.local.Key.ID, h.local.Key.Secret, ""),
	})
}

// pid returns the process that plays the role.
func (h *home) pid(t testing.TB, role string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.data, "run", role+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// kill ends the role's process by SIGKILL and returns when it is gone.
func (h *home) kill(t testing.TB, role string) {
	t.Helper()
	pid := h.pid(t, role)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.awaitEnd(t, pid)
}

// awaitEnd returns when the process, a child of the test or not, is gone.
func (h *home) awaitEnd(t testing.TB, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("process %d to end", pid), func() bool {
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	})
}

// eventually returns when ok says so, and fails the test when it does not in time. It is for
// conditions of other processes that announce nothing.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	poll(t, 10*time.Millisecond, what, ok)
}

// poll is eventually with another time between two looks.
func poll(t testing.TB, every time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("waited %s for %s", waitLimit, what)
		}
	}
}

// push pushes the test application to the embedded registry as web:1.
func (h *home) push(t testing.TB) string {
	t.Helper()
	image, _, err := h.local.Push(t.Context(), appBinary(t), "web:1", 8080)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// input is a CreateService request for an image with the environment.
func input(name, image string, env map[string]string) *apprunner.CreateServiceInput {
	return &apprunner.CreateServiceInput{
		ServiceName: aws.String(name),
		SourceConfiguration: &types.SourceConfiguration{
			AuthenticationConfiguration: &types.AuthenticationConfiguration{
				AccessRoleArn: aws.String("arn:aws:iam::123456789012:role/ecr-access"),
			},
			ImageRepository: &types.ImageRepository{
				ImageIdentifier: aws.String(image), ImageRepositoryType: types.ImageRepositoryTypeEcr,
				ImageConfiguration: &types.ImageConfiguration{
					Port: aws.String("8080"), RuntimeEnvironmentVariables: env,
				},
			},
		},
	}
}

// create creates a service and returns it as the answer shows it.
func (h *home) create(t testing.TB, in *apprunner.CreateServiceInput) *types.Service {
	t.Helper()
	out, err := h.client.CreateService(t.Context(), in)
	if err != nil {
		t.Fatalf("create service: %v", err)
	}
	return out.Service
}

// settled returns the service once no operation is in progress.
func (h *home) settled(t testing.TB, arn *string) *types.Service {
	t.Helper()
	var svc *types.Service
	eventually(t, "the operation to end", func() bool {
		out, err := h.client.DescribeService(t.Context(), &apprunner.DescribeServiceInput{ServiceArn: arn})
		if err != nil {
			t.Fatalf("describe service: %v", err)
		}
		svc = out.Service
		return svc.Status != types.ServiceStatusOperationInProgress
	})
	return svc
}

// running creates a service and returns it once it runs.
func (h *home) running(t testing.TB, in *apprunner.CreateServiceInput) *types.Service {
	t.Helper()
	svc := h.settled(t, h.create(t, in).ServiceArn)
	if svc.Status != types.ServiceStatusRunning {
		t.Fatalf("service is %s; events:\n%s", svc.Status, h.events(t, svc))
	}
	return svc
}

// remove deletes a service and returns it once the operation has ended.
func (h *home) remove(t testing.TB, svc *types.Service) *types.Service {
	t.Helper()
	_, err := h.client.DeleteService(t.Context(), deleteInput(svc))
	if err != nil {
		t.Fatalf("delete service: %v", err)
	}
	return h.settled(t, svc.ServiceArn)
}

func deleteInput(svc *types.Service) *apprunner.DeleteServiceInput {
	return &apprunner.DeleteServiceInput{ServiceArn: svc.ServiceArn}
}

// operations returns the service's operations, newest first.
func (h *home) operations(t testing.TB, svc *types.Service) []types.OperationSummary {
	t.Helper()
	out, err := h.client.ListOperations(t.Context(), &apprunner.ListOperationsInput{ServiceArn: svc.ServiceArn})
	if err != nil {
		t.Fatalf("list operations: %v", err)
	}
	return out.OperationSummaryList
}

// events returns the service's event log as text.
func (h *home) events(t testing.TB, svc *types.Service) string {
	t.Helper()
	events, err := h.local.Events(apron.ServiceID(aws.ToString(svc.ServiceId)), 0)
	if err != nil {
		t.Fatal(err)
	}
	return joined(events)
}

func joined(events []logs.Event) string {
	var b strings.Builder
	for _, e := range events {
		b.WriteString(e.Message + "\n")
	}
	return b.String()
}

// get asks the router for path of the service's default domain.
func (h *home) get(ctx context.Context, svc *types.Service, path string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.local.HTTP+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	req.Host = aws.ToString(svc.ServiceUrl)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b), err
}

// instances returns the ids of the instances with a live task, by their processes.
func (h *home) instances(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var shims []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(b), "containerd-shim") && strings.Contains(string(b), h.data) {
			shims = append(shims, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return shims
}

func (h *home) dumpLogs(t testing.TB) {
	for _, role := range []string{"serve", "router", "engine"} {
		b, err := os.ReadFile(filepath.Join(h.data, "log", role+".log"))
		if err != nil {
			continue
		}
		if len(b) > 64<<10 {
			b = b[len(b)-64<<10:]
		}
		t.Logf("%s.log:\n%s", role, b)
	}
}
