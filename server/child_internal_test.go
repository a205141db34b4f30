package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"apron/router"
)

// TestMain lets this binary be started as a router, as package child does with its own executable.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == roleRouter {
		value := func(flag string) string {
			if i := slices.Index(os.Args, flag); i > 0 {
				return os.Args[i+1]
			}
			return ""
		}
		ctx, stop := Interrupted()
		defer stop()
		cfg := Config{Data: value("--data"), HTTP: value("--http"), HTTPS: value("--https"), Domain: "apron.localhost"}
		if err := RunRouter(ctx, cfg, slices.Contains(os.Args, "--take-over"), slog.New(slog.DiscardHandler)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			defer os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A router of another release is replaced without closing its ports; one of this release is found.
func TestRouterOfAnotherReleaseIsReplaced(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	data, err := os.MkdirTemp("", "s") // a unix socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(data)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(data, "other")
	if err := os.WriteFile(other, program, 0o700); err != nil {
		t.Fatal(err)
	}
	args := []string{"--data", data, "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"}
	old := exec.CommandContext(ctx, other, append([]string{roleRouter}, args...)...)
	old.Stderr = os.Stderr
	if err := old.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- old.Wait() }()

	c := &child{
		role: roleRouter, data: data, socket: router.SocketPath(data), log: slog.New(slog.DiscardHandler),
		args: func() []string { return args }, succeed: []string{"--take-over"},
	}
	if err := c.awaitSocket(ctx); err != nil {
		t.Fatal(err)
	}
	before := routerAddresses(ctx, t, data)
	p, err := c.ensure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if p.pid == old.Process.Pid {
		t.Fatal("the old router goes on")
	}
	defer func() { _ = p.stop(ctx, 10*time.Second) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the old router: %v", err)
		}
	case <-ctx.Done():
		t.Error("the old router does not end")
	}
	if after := routerAddresses(ctx, t, data); after != before {
		t.Errorf("listens at %v, before at %v", after, before)
	}
	conn, err := net.Dial("tcp", before.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || len(got) == 0 {
		t.Errorf("answer %q %v", got, err)
	}
	again, err := c.ensure(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if again.pid != p.pid {
		t.Errorf("process %d was replaced by %d, of the same release", p.pid, again.pid)
	}
}

func routerAddresses(ctx context.Context, t *testing.T, data string) router.Addresses {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	client := router.NewClient(router.ClientConfig{Socket: router.SocketPath(data), Log: slog.New(slog.DiscardHandler)})
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	a, err := client.Addresses(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return a
}
