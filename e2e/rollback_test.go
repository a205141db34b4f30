package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron/engine/containerd/logfile"
)

// TestEveryFailureRollsBack updates a service to versions that fail in every way there is. Each is
// rolled back, the version before never stops answering, and the reason is in the operation, in the
// events and beside the revision.
func TestEveryFailureRollsBack(t *testing.T) {
	h := newHome(t, "--start-window=6s")
	image := h.push(t)
	in := input("web1", image, map[string]string{"VERSION": "one"})
	in.InstanceConfiguration = &types.InstanceConfiguration{Cpu: aws.String("256"), Memory: aws.String("512")}
	svc := h.running(t, in)
	tr := h.traffic(t, svc, 1)
	absent := strings.Replace(image, "web:1", "absent:1", 1)
	overHTTP := &types.HealthCheckConfiguration{Protocol: types.HealthCheckProtocolHttp, Path: aws.String("/health")}
	for _, tc := range []struct {
		name, image string
		env         map[string]string
		check       *types.HealthCheckConfiguration
		want        []string
	}{
		{"image is missing", absent, nil, nil, []string{"absent"}},
		{"exits with an error", image, mode("exit", "CODE", "7"), nil, []string{"exit code: 7", "cannot reach the database"}},
		{"exits with success", image, mode("exit", "CODE", "0"), nil, []string{"exit code: 0", "cannot reach the database"}},
		{"is ended by a signal", image, mode("deaf", "SIGNAL", "KILL"), nil, []string{"exit code: 137 (SIGKILL)", "running, but not listening"}},
		{"runs out of memory", image, mode("hungry"), nil, []string{"ran out of memory", "more memory, please"}},
		{"never listens", image, mode("deaf"), nil, []string{"Health check failed on protocol `TCP` [Port: '8080'] for 6s", "refused", "running, but not listening"}},
		{"listens elsewhere", image, mode("astray"), nil, []string{"Check your configured port number", "listening on :9090"}},
		{"is not well", image, mode("sick"), overHTTP, []string{"protocol `HTTP` [Path: '/health']", "503", "not feeling well"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := h.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{
				ServiceArn: svc.ServiceArn, SourceConfiguration: input("", tc.image, tc.env).SourceConfiguration, HealthCheckConfiguration: tc.check,
			})
			if err != nil {
				t.Fatal(err)
			}
			if tc.env["SIGNAL"] != "" {
				h.killNewest(t, svc)
			}
			after := h.settled(t, svc.ServiceArn)
			env := after.SourceConfiguration.ImageRepository.ImageConfiguration.RuntimeEnvironmentVariables
			if after.Status != types.ServiceStatusRunning || env["VERSION"] != "one" || after.HealthCheckConfiguration.Protocol != types.HealthCheckProtocolTcp {
				t.Errorf("service is %s and shows %v, %v", after.Status, env, after.HealthCheckConfiguration.Protocol)
			}
			ops, err := h.local.Operations(t.Context(), aws.ToString(svc.ServiceArn), 1)
			if err != nil || aws.ToString(ops[0].Status) != "ROLLBACK_SUCCEEDED" {
				t.Fatalf("operation %+v, %v", ops, err)
			}
			revisions, err := h.local.Revisions(t.Context(), aws.ToString(svc.ServiceArn))
			if err != nil || revisions[0].Outcome != "ROLLED_BACK" || revisions[0].Reason != ops[0].Reason {
				t.Errorf("revision %+v, %v", revisions[0], err)
			}
			events := h.events(t, svc)
			for _, want := range tc.want {
				if !strings.Contains(ops[0].Reason, want) || !strings.Contains(events, want) {
					t.Errorf("%q is not in the reason or the events; the reason is: %s", want, ops[0].Reason)
				}
			}
		})
	}
	tr.stop()
	h.answers(t, svc, "version=one")
	h.wantNothingLost(t, false)
}

// killNewest ends the processes of the service's newest instance by SIGKILL, once they run and have
// written something: from outside, because the first process of a namespace cannot do it.
func (h *home) killNewest(t testing.TB, svc *types.Service) {
	t.Helper()
	eventually(t, "a second instance to run", func() bool {
		groups, err := filepath.Glob("/sys/fs/cgroup/*/services/" + aws.ToString(svc.ServiceId) + "/*/cgroup.procs")
		if err != nil {
			t.Fatal(err)
		}
		if len(groups) == 0 {
			groups, _ = filepath.Glob("/sys/fs/cgroup/pids/*/services/" + aws.ToString(svc.ServiceId) + "/*/cgroup.procs")
		}
		for _, group := range groups {
			b, err := os.ReadFile(group)
			var pid int
			if _, scanErr := fmt.Sscan(string(b), &pid); err != nil || scanErr != nil {
				continue
			}
			environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			written, logErr := logfile.End(filepath.Join(h.data, "log", "instance", filepath.Base(filepath.Dir(group))))
			if err == nil && strings.Contains(string(environ), "MODE=deaf") && logErr == nil && written > 0 {
				return syscall.Kill(pid, syscall.SIGKILL) == nil
			}
		}
		return false
	})
}

// mode is an environment in which the test application behaves badly.
func mode(name string, more ...string) map[string]string {
	env := map[string]string{"MODE": name}
	for pair := range slices.Chunk(more, 2) {
		env[pair[0]] = pair[1]
	}
	return env
}

// TestCrashInServiceIsNoFailedDeployment crashes a version that has just been given the requests, while
// its deployment still waits for the version before to finish, and again later: it is started again,
// and nothing is rolled back.
func TestCrashInServiceIsNoFailedDeployment(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	svc := h.running(t, input("web1", image, map[string]string{"VERSION": "one"}))
	held := make(chan string, 1) // what keeps the version before from being stopped
	go func() {
		_, body, err := h.get(t.Context(), svc, "/slow?for=3s")
		if err != nil {
			body = err.Error()
		}
		held <- body
	}()
	eventually(t, "the slow request to be on its way", func() bool {
		status, _, err := h.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK
	})
	_, err := h.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{
		ServiceArn: svc.ServiceArn, SourceConfiguration: input("", image, map[string]string{"VERSION": "two"}).SourceConfiguration,
	})
	if err != nil {
		t.Fatal(err)
	}
	two := func() bool {
		status, body, err := h.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK && strings.HasPrefix(body, "version=two ")
	}
	eventually(t, "the new version to answer", two)
	if ops := h.operations(t, svc); ops[0].Status != types.OperationStatusInProgress {
		t.Logf("the operation is %s already", ops[0].Status)
	}
	_, _, _ = h.get(t.Context(), svc, "/crash")
	eventually(t, "the new version to be back", two)
	if body := <-held; !strings.HasPrefix(body, "version=one at last") {
		t.Errorf("the request in flight was answered %q", body)
	}
	if after := h.settled(t, svc.ServiceArn); after.Status != types.ServiceStatusRunning {
		t.Errorf("service is %s", after.Status)
	}
	if ops := h.operations(t, svc); ops[0].Status != types.OperationStatusSucceeded || len(ops) != 2 {
		t.Errorf("operations %+v", ops)
	}
	_, _, _ = h.get(t.Context(), svc, "/crash")
	eventually(t, "it to be back once more", two)
	if ops := h.operations(t, svc); len(ops) != 2 {
		t.Errorf("operations %+v", ops)
	}
}

// TestInstanceContract checks what an instance is given, and that nothing of the platform gets in.
func TestInstanceContract(t *testing.T) {
	t.Setenv("APRON_SECRET_OF_THE_PLATFORM", "leaked")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "leaked")
	h := newHome(t)
	in := input("web1", h.push(t), map[string]string{"COLOUR": "blue"})
	svc := h.running(t, in)
	_, body, err := h.get(t.Context(), svc, "/env")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(body), "\n")
	host, env := lines[0], lines[1:]
	if !h.hasInstance(host) {
		t.Errorf("the host name is %q, which is no instance's id", host)
	}
	want := []string{"PORT=8080", "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "COLOUR=blue"}
	for _, e := range want {
		if !slices.Contains(env, e) {
			t.Errorf("the environment lacks %s", e)
		}
	}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if !slices.Contains(want, e) && name != "PATH" && name != "HOSTNAME" && name != "HOME" {
			t.Errorf("the environment has %s", e)
		}
	}
}

// hasInstance reports whether an instance has the id.
func (h *home) hasInstance(id string) bool {
	return slices.Contains(slices.Collect(maps.Values(shims(h.data))), id)
}
