package e2e_test

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron/server"
)

// TestServesWhereInstancesCannotRun starts the server as a user who may do nothing.
func TestServesWhereInstancesCannotRun(t *testing.T) {
	needRoot(t)
	data, err := os.MkdirTemp("", "apron")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(data); err != nil {
			t.Error(err)
		}
	})
	const nobody = 65534
	if err := os.Chown(data, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	h := &home{data: data}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), copyOfSelf(t), "serve",
		"--data="+data, "--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--https=127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		down(t, data)
		_ = cmd.Wait()
	})
	eventually(t, "the server to be ready", func() bool {
		h.local, err = server.OpenLocal(data)
		return err == nil
	})
	h.connect()
	svc := h.settled(t, h.create(t, input("web1", h.push(t), nil)).ServiceArn)
	if svc.Status != types.ServiceStatusCreateFailed {
		t.Errorf("service is %s", svc.Status)
	}
	if events := h.events(t, svc); !strings.Contains(events, "instances need root") {
		t.Errorf("nothing in the events says why:\n%s", events)
	}
	status, err := server.ReadStatus(t.Context(), server.Config{Data: data})
	if err != nil || status.Server == nil || !strings.Contains(strings.Join(status.Server.Engine.Reasons, " "), "instances need root") {
		t.Errorf("status is %+v, %v", status, err)
	}
	if gone := h.remove(t, svc); aws.ToString(gone.ServiceArn) == "" || gone.Status != types.ServiceStatusDeleted {
		t.Errorf("after its deletion the service is %s", gone.Status)
	}
}

// copyOfSelf returns this program at a place where everyone may run it.
func copyOfSelf(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "apron-self")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "apron")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
