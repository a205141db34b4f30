package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"apron/server"
)

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "apron.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// clean removes what this machine's environment says about Apron.
func clean(t *testing.T) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, "APRON_") {
			t.Setenv(name, value) // restores it at the end
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLoadDefaults(t *testing.T) {
	clean(t)
	got, err := server.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Listen != "127.0.0.1:4080" || got.Domain != "apron.localhost" || got.StartWindow != 5*time.Minute || got.Store != "" {
		t.Errorf("defaults: %+v", got)
	}
}

func TestFlagOverEnvironmentOverFileOverDefault(t *testing.T) {
	clean(t)
	name := write(t, "domain: file.example.com\nregion: eu-west-1\naccount: \"111122223333\"\nstart-window: 30s\n"+
		"mirrors:\n  docker.io: https://mirror.example.com\ninsecure-registries: [registry.example.com:5000]\n")
	t.Setenv("APRON_REGION", "eu-west-2")
	t.Setenv("APRON_ACCOUNT", "222233334444")
	got, err := server.Load(name, map[string]any{"account": "333344445555"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Domain != "file.example.com" || got.Region != "eu-west-2" || got.Account != "333344445555" || got.StartWindow != 30*time.Second {
		t.Errorf("got %+v", got)
	}
	if got.Mirrors["docker.io"] != "https://mirror.example.com" || len(got.Insecure) != 1 {
		t.Errorf("mirrors %v, insecure %v", got.Mirrors, got.Insecure)
	}
}

// TestExportedBaseURLs: what `apron env` exports must not break the next command.
func TestExportedBaseURLs(t *testing.T) {
	clean(t)
	t.Setenv("APRON_HTTP", "http://127.0.0.1:8080")
	t.Setenv("APRON_HTTPS", "https://127.0.0.1:8443")
	got, err := server.Load("", nil)
	if err != nil || got.HTTP != "127.0.0.1:8080" || got.HTTPS != "127.0.0.1:8443" {
		t.Errorf("got %q %q, %v", got.HTTP, got.HTTPS, err)
	}
}

func TestLoadBuilds(t *testing.T) {
	clean(t)
	got, err := server.Load(write(t, "builds:\n  egress: false\n  timeout: 10m\n  env: {HTTP_PROXY: \"http://proxy:3128\"}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := got.Builds
	if b.Egress == nil || *b.Egress || b.Substitute != nil || b.Timeout != 10*time.Minute || b.Env["HTTP_PROXY"] != "http://proxy:3128" {
		t.Errorf("got %+v", b)
	}
}

// Whoever may create a service can read the server's disk only where that is one's own machine.
func TestLocalRepositories(t *testing.T) {
	clean(t)
	for file, want := range map[string]bool{
		"": true, "domain: localhost\n": true, "domain: example.com\n": false, "domain: notlocalhost\n": false, "domain: x.test\n": false,
		"domain: example.com\nlocal-repositories: \"yes\"\n": true, "local-repositories: \"no\"\n": false,
	} {
		got, err := server.Load(write(t, file), nil)
		if err != nil || got.AllowsLocalRepositories() != want {
			t.Errorf("%q: %v, %v, want %v", file, got.AllowsLocalRepositories(), err, want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	clean(t)
	for name, file := range map[string]string{
		"an unknown key":   "domian: example.com\n",
		"no port":          "listen: 127.0.0.1\n",
		"a bad domain":     "domain: UPPER.example.com\n",
		"a short account":  "account: \"123\"\n",
		"a bad duration":   "start-window: soon\n",
		"a bad choice":     "local-repositories: maybe\n",
		"a short poll":     "poll-interval: 10ms\n",
		"no revisions":     "revisions: 0\n",
		"a bad store":      "store: mysql://x\n",
		"an unknown quota": "quotas: {pets: 3}\n",
		"a bad quota":      "quotas: {services: -1}\n",
		"an unknown limit": "builds: {cores: 3}\n",
		"a bad limit":      "builds: {memory-mib: -1}\n",
		"not yaml":         ":\n-",
	} {
		if _, err := server.Load(write(t, file), nil); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestCertificatesInTheFile(t *testing.T) {
	clean(t)
	got, err := server.Load(write(t, "certificates:\n  - {cert: /a.pem, key: /a.key}\n  - {cert: /b.pem, key: /b.key}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Certificates) != 2 || got.Certificates[1].Key != "/b.key" {
		t.Errorf("got %+v", got.Certificates)
	}
	for _, bad := range []string{"certificates: [{cert: /a.pem}]\n", "certificates: [{cert: a.pem, key: a.key}]\n"} {
		if _, err := server.Load(write(t, bad), nil); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
