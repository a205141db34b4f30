package source_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"apron/source"
)

// sshServer serves the repositories it is asked for to whoever has the key, and returns its port.
func sshServer(t *testing.T, allowed ssh.PublicKey) (port string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, errors.New("who are you?")
		}
		return &ssh.Permissions{}, nil
	}}
	cfg.AddHostKey(host)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serveSSH(t, c, cfg) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port
}

func serveSSH(t *testing.T, c net.Conn, cfg *ssh.ServerConfig) {
	defer c.Close()
	conn, channels, requests, err := ssh.NewServerConn(c, cfg)
	if err != nil {
		return // not allowed
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		ch, in, err := offered.Accept()
		if err != nil {
			return
		}
		for req := range in {
			if req.Type != "exec" {
				_ = req.Reply(req.Type == "env", nil)
				continue
			}
			_ = req.Reply(true, nil)
			name, _ := strings.CutPrefix(string(req.Payload[4:]), "git-upload-pack ")
			cmd := exec.CommandContext(t.Context(), "git", "upload-pack", strings.Trim(name, "'"))
			cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
			status := []byte{0, 0, 0, 0}
			if err := cmd.Run(); err != nil {
				status[3] = 128
			}
			_, _ = ch.SendRequest("exit-status", false, status)
			_ = ch.Close()
		}
	}
}

func TestGitOverSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("there is no ssh")
	}
	repo := newRepository(t, filepath.Join(t.TempDir(), "web"))
	want := repo.write(map[string]string{"file": "x"})
	newKey := func() (ssh.PublicKey, string) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(private, "")
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.NewPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return key, string(pem.EncodeToMemory(block))
	}
	public, private := newKey()
	_, other := newKey()
	port := sshServer(t, public)
	dir := t.TempDir()
	// The name has no other address than the one that was looked at.
	g := newGit(t, func(c *source.GitConfig) {
		c.Dir = dir
		c.Lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{loopback()}, nil }
	})
	at := source.GitRepository{
		Account: alice, URL: "ssh://git@git.example.com:" + port + repo.dir, Branch: "main", Credential: source.GitCredential{SSHKey: strings.TrimSpace(private)},
	}
	commit, files, _ := fetch(t, g, at)
	if commit != want {
		t.Errorf("got commit %s, want %s", commit, want)
	}
	wantFile(t, filepath.Join(files, "file"), "x")
	if head, err := g.Head(t.Context(), at); err != nil || head != want {
		t.Errorf("head is %s, %v", head, err)
	}
	for name, key := range map[string]string{"another key": other, "no key": ""} {
		at := at
		at.Credential.SSHKey = key
		if _, err := g.Fetch(t.Context(), at); err == nil {
			t.Errorf("%s opens it", name)
		} else {
			wantFault(t, err, "needs a connection")
		}
	}
	if keys, err := filepath.Glob(filepath.Join(dir, "home", "key-*")); err != nil || len(keys) != 0 {
		t.Errorf("keys are left: %v, %v", keys, err)
	}
	// A host that comes with another key than before is somebody else.
	forged := "git.example.com:" + port + " " + string(ssh.MarshalAuthorizedKey(public))
	if err := os.WriteFile(filepath.Join(dir, "home", "known_hosts"), []byte(forged), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := g.Fetch(t.Context(), at)
	wantFault(t, err, "has another key than when it was first seen")
}
