package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron/server"
)

func TestRegistryCredentials(t *testing.T) {
	clean(t)
	config := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(config, []byte(`{"auths":{}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	name := write(t, `registry-credentials:
  ghcr.io: {user: alice, password: open-sesame}
  registry.example.com:5000: {user: bob, password-file: /run/secrets/registry}
  example.azurecr.io: {identity-token: eyJ-sesame}
max-image-mib: 512
max-unpacked-mib: 1024
`)
	t.Setenv("APRON_DOCKER_CONFIG", config)
	got, err := server.Load(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]server.RegistryCredential{
		"ghcr.io":                   {User: "alice", Password: "open-sesame"},
		"registry.example.com:5000": {User: "bob", PasswordFile: "/run/secrets/registry"},
		"example.azurecr.io":        {IdentityToken: "eyJ-sesame"},
	}
	if diff := cmp.Diff(want, got.RegistryCredentials); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got.DockerConfig != config || got.MaxImageMiB != 512 || got.MaxUnpackedMiB != 1024 {
		t.Errorf("docker-config %q, max-image-mib %d, max-unpacked-mib %d", got.DockerConfig, got.MaxImageMiB, got.MaxUnpackedMiB)
	}
	if s := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(s, "sesame") {
		t.Errorf("a printed configuration tells secrets: %s", s)
	}
	for _, bad := range []string{
		"registry-credentials: {ghcr.io: {user: alice}}",
		"registry-credentials: {ghcr.io: {password: open-sesame}}",
		"registry-credentials: {ghcr.io: {user: alice, password: a, password-file: b}}",
		"registry-credentials: {ghcr.io: {identity-token: open-sesame, password: open-sesame}}",
		"registry-credentials: {ghcr.io: {name: alice}}",
		"max-image-mib: 0",
		"max-unpacked-mib: 0",
		"git-repository-mib: 0",
	} {
		if _, err := server.Load(write(t, bad), nil); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
