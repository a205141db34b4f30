package containerd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"apron"
)

// dockerImage is what the Docker benchmarks call the tests' application.
const dockerImage = "apron-bench:latest"

// BenchmarkDockerStart measures the same as BenchmarkStart/cold on a Docker Engine, where one is
// installed: by its API, as Apron's own benchmark calls its driver, and by the command line, which is what
// people start containers with, and part of the time.
func BenchmarkDockerStart(b *testing.B) {
	d := startDocker(b)
	for _, row := range []struct {
		name string
		run  func(*testing.B) (id string)
	}{
		{"api", d.run},
		{"cli", func(b *testing.B) string {
			return d.cli(b, "run", "-d", "--rm", "--cpus", "1", "--memory", "256m", dockerImage)
		}},
	} {
		b.Run(row.name, func(b *testing.B) {
			var times []time.Duration
			for b.Loop() {
				start := time.Now()
				id := row.run(b)
				d.awaitAnswer(b, id)
				times = append(times, time.Since(start))
				b.StopTimer()
				d.kill(b, id)
				b.StartTimer()
			}
			report(b, times)
		})
	}
}

// BenchmarkDockerStart20 measures the same as BenchmarkStart20 on a Docker Engine.
func BenchmarkDockerStart20(b *testing.B) {
	d := startDocker(b)
	var times []time.Duration
	for b.Loop() {
		ids := make([]string, 20)
		var all sync.WaitGroup
		start := time.Now()
		for n := range ids {
			all.Go(func() {
				ids[n] = d.run(b)
				d.awaitAnswer(b, ids[n])
			})
		}
		all.Wait()
		times = append(times, time.Since(start))
		b.StopTimer()
		for _, id := range ids {
			d.kill(b, id)
		}
		b.StartTimer()
	}
	report(b, times)
}

// docker is a Docker Engine.
type docker struct {
	host string // unix:///path
	http http.Client
}

// startDocker starts a Docker Engine beside whatever else there is: with a directory, a bridge and mounts
// of its own, and without touching the firewall. It has the tests' application as its image.
func startDocker(b *testing.B) *docker {
	b.Helper()
	needRoot(b)
	exe, err := exec.LookPath("dockerd")
	if err != nil {
		b.Skip("no Docker Engine is installed here to compare with")
	}
	dir, err := os.MkdirTemp("", "docker")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	socket := filepath.Join(dir, "s")
	d := &docker{host: "unix://" + socket}
	d.http.Transport = &http.Transport{MaxIdleConnsPerHost: 20, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	cmd := exec.Command(exe, "--host", d.host, "--data-root", dir+"/data", "--exec-root", dir+"/run", "--pidfile", dir+"/pid",
		"--bridge", dockerBridge(b), "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--userland-proxy=false",
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", dockerGroup(b))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} // its mounts go with it
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		<-ended
		d.http.CloseIdleConnections()
		if b.Failed() {
			b.Logf("dockerd said:\n%s", log.String())
		}
	})
	d.await(b, ended)
	root, err := appTar(b)
	if err != nil {
		b.Fatal(err)
	}
	query := url.Values{"fromSrc": {"-"}, "repo": {dockerImage}, "changes": {`ENTRYPOINT ["/app"]`, "ENV PORT=8080"}}
	if err := d.call(b.Context(), http.MethodPost, "/images/create?"+query.Encode(), "application/x-tar", root, nil); err != nil {
		b.Fatal(err)
	}
	return d
}

// dockerBridge makes a bridge for the time of the benchmark and returns its name.
func dockerBridge(b *testing.B) string {
	b.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("docker%d", os.Getpid())
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := netlink.LinkDel(bridge); err != nil {
			b.Error(err)
		}
	})
	addr, err := netlink.ParseAddr("198.19.255.1/24") // of the networks for benchmarks (RFC 2544)
	if err != nil {
		b.Fatal(err)
	}
	if err := netlink.AddrAdd(bridge, addr); err != nil {
		b.Fatal(err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		b.Fatal(err)
	}
	return attrs.Name
}

// dockerGroup names a control group for the benchmark's containers, and removes it afterwards.
func dockerGroup(b *testing.B) string {
	name := fmt.Sprintf("docker%d", os.Getpid())
	b.Cleanup(func() {
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			groups, err := filepath.Glob(pattern + name)
			for _, group := range groups {
				err = errors.Join(err, os.Remove(group))
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
	return "/" + name
}

// await returns once the engine answers.
func (d *docker) await(b *testing.B, ended <-chan struct{}) {
	b.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for d.call(b.Context(), http.MethodGet, "/_ping", "", nil, nil) != nil {
		select {
		case <-tick.C:
		case <-ended:
			b.Fatal("dockerd has ended")
		case <-limit:
			b.Fatal("dockerd does not answer")
		}
	}
}

// call calls the engine's API and decodes its answer, if any is wanted.
func (d *docker) call(ctx context.Context, method, path, contentType string, body io.Reader, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(b, answer)
}

// run starts a container with the size of the tests' instances.
func (d *docker) run(b *testing.B) (id string) {
	spec := fmt.Sprintf(`{"Image":%q,"HostConfig":{"NanoCpus":1000000000,"Memory":268435456,"AutoRemove":true}}`, dockerImage)
	var made struct{ ID string }
	err := d.call(b.Context(), http.MethodPost, "/containers/create", "application/json", strings.NewReader(spec), &made)
	if err == nil {
		err = d.call(b.Context(), http.MethodPost, "/containers/"+made.ID+"/start", "", nil, nil)
	}
	if err != nil {
		b.Error(err)
	}
	return made.ID
}

// cli runs Docker's command line and returns what it printed.
func (d *docker) cli(b *testing.B, args ...string) string {
	b.Helper()
	out, err := exec.CommandContext(b.Context(), "docker", append([]string{"--host", d.host}, args...)...).Output()
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// awaitAnswer returns once the container has answered a request.
func (d *docker) awaitAnswer(b *testing.B, id string) {
	var c struct {
		NetworkSettings struct {
			Networks map[string]struct{ IPAddress string }
		}
	}
	if err := d.call(b.Context(), http.MethodGet, "/containers/"+id+"/json", "", nil, &c); err != nil {
		b.Error(err)
		return
	}
	addr, err := netip.ParseAddr(c.NetworkSettings.Networks["bridge"].IPAddress)
	if err != nil {
		b.Error(err)
		return
	}
	at := apron.Instance{Addr: netip.AddrPortFrom(addr, 8080)}
	for until := time.Now().Add(time.Minute); ; {
		_, err := get(at, "/")
		if err == nil {
			return
		}
		if time.Now().After(until) {
			b.Errorf("container %s does not answer: %v", id, err)
			return
		}
	}
}

// kill ends a container and waits until nothing of it is left.
func (d *docker) kill(b *testing.B, id string) {
	b.Helper()
	if err := d.call(b.Context(), http.MethodDelete, "/containers/"+id+"?force=1", "", nil, nil); err != nil {
		b.Error(err)
	}
}
