package router_test

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"apron/router"
)

func frame(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// What does not greet properly is turned away and disturbs nobody.
func TestStrangersOnTheSocket(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	for name, sent := range map[string][]byte{
		"other protocol": frame(`{"Hello":{"Protocol":99}}`),
		"no hello":       frame(`{"Table":{"Version":99}}`),
		"not JSON":       frame(`GET / HTTP/1.1`),
		"too long":       {0xff, 0xff, 0xff, 0xff},
	} {
		conn, err := net.Dial("unix", router.SocketPath(b.cfg.Dir))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(sent); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn) // until the router closes; a reset is as good
		_ = conn.Close()
		if name == "other protocol" && !strings.Contains(string(got), `{"Hello":{"Protocol":1,`) {
			t.Errorf("%s: answer %q", name, got)
		}
	}
	b.publish(route("web.example.com", backend(t, "i2", says("again")))) // the stream is still up
	b.want(b.get("http://web.example.com/"), 200, "again")
}

func TestClientRefusesAnotherProtocol(t *testing.T) {
	dir, err := os.MkdirTemp("", "r")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write(frame(`{"Hello":{"Protocol":99}}`))
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}()
	defer func() { _ = ln.Close(); <-done }()
	c := router.NewClient(router.ClientConfig{Socket: socket, Log: slog.New(slog.DiscardHandler)})
	if err := c.Run(t.Context()); !errors.Is(err, router.ErrProtocol) {
		t.Errorf("Run: %v", err)
	}
}

// State that cannot be read must not keep the router from serving what it is told next.
func TestDamagedState(t *testing.T) {
	b := start(t, nil)
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"table.json", "certificates.json"} {
		if err := os.WriteFile(filepath.Join(b.cfg.Dir, "router", name), []byte(`{"Version": 7, "Rou`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.cfg.HTTP = b.addrs.HTTP
	b.run()
	b.publish(route("web.example.com", backend(t, "i1", says("hello"))))
	b.want(b.get("http://web.example.com/"), 200, "hello")
}

func TestCertificateHidesItsKey(t *testing.T) {
	var out strings.Builder
	c := router.Certificate{CertPEM: []byte("public"), KeyPEM: []byte("secret")}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "c", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", []router.Certificate{c})
	if got := out.String(); strings.Contains(got, "secret") || strings.Contains(got, "115 101 99") {
		t.Errorf("logged %s", got)
	}
}
