package e2e_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron/registry"
	"apron/source"
)

// TestOtherRegistries deploys from a registry that wants a password, by its own name and in the place
// of one that cannot be reached from here.
func TestOtherRegistries(t *testing.T) {
	needRoot(t)
	const user, password = "puller", "open-sesame"
	reg, err := registry.New(t.Context(), registry.Config{
		Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, u, p string) (string, bool, error) {
			return "999999999999", u == user && p == password, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(reg)
	t.Cleanup(func() {
		srv.Close()
		if err := reg.Close(); err != nil {
			t.Error(err)
		}
	})
	host := strings.TrimPrefix(srv.URL, "http://")
	img, err := source.PackBinary(appBinary(t), source.PackOptions{Port: 8080})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Push(t.Context(), img, host+"/team/web:1", user, password); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "apron.yaml")
	text := fmt.Sprintf("mirrors: {public.ecr.aws: %q, 210987654321.dkr.ecr.eu-west-1.amazonaws.com: %q}\nregistry-credentials: {%q: {user: %s, password: %s}}\n",
		srv.URL, srv.URL+"/team", host, user, password)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHome(t, "--config="+config)

	for name, image := range map[string]string{
		"by-name": host + "/team/web:1", "mirrored": "public.ecr.aws/team/web:1", "account": "210987654321.dkr.ecr.eu-west-1.amazonaws.com/web:1",
	} {
		in := input(name, image, nil)
		if name == "mirrored" { // as public images are: of another type, and without a role
			in.SourceConfiguration.AuthenticationConfiguration = nil
			in.SourceConfiguration.AutoDeploymentsEnabled = aws.Bool(false)
			in.SourceConfiguration.ImageRepository.ImageRepositoryType = types.ImageRepositoryTypeEcrPublic
		}
		if name == "account" {
			in.SourceConfiguration.AutoDeploymentsEnabled = aws.Bool(false)
		}
		h.running(t, in)
	}

	svc := h.settled(t, h.create(t, input("absent", host+"/team/absent:1", nil)).ServiceArn)
	ops := h.operations(t, svc)
	if len(ops) != 1 || ops[0].Status != types.OperationStatusFailed || !strings.Contains(h.events(t, svc), "The registry says: MANIFEST_UNKNOWN") {
		t.Errorf("operations %+v; events:\n%s", ops, h.events(t, svc))
	}
	err = filepath.WalkDir(filepath.Join(h.data, "log"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), password) {
			t.Errorf("the password is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
