package source_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/source"
)

func TestLocate(t *testing.T) {
	r, err := source.New(source.Config{
		Embedded: func(account string) (string, string, string, bool) {
			return "http://127.0.0.1:4080", "AKIAEXAMPLE", "secret", account == alice
		},
		Mirrors:  map[string]string{"GHCR.io": "https://u:p@Mirror.example.com:8443/ghcr/"},
		Insecure: []string{"registry.example.com:5000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	foreign := bob + ".dkr.ecr.eu-west-1.amazonaws.com"
	for ref, want := range map[string]source.Location{
		ecrHost + "/team/web@" + zeros: {
			BaseURL: "http://127.0.0.1:4080", PlainHTTP: true, Host: "127.0.0.1:4080", Repository: "team/web",
			Digest: zeros, Embedded: true, Credential: source.Credential{User: "AKIAEXAMPLE", Password: "secret"},
		},
		foreign + "/web@" + zeros: {BaseURL: "https://" + foreign, Host: foreign, Repository: "web", Digest: zeros},
		"docker.io/library/nginx@" + zeros: {
			BaseURL: "https://registry-1.docker.io", Host: "registry-1.docker.io", Repository: "library/nginx", Digest: zeros,
		},
		"ghcr.io/team/web@" + zeros: {
			BaseURL: "https://mirror.example.com:8443", Host: "mirror.example.com:8443", Repository: "ghcr/team/web",
			Digest: zeros, Credential: source.Credential{User: "u", Password: "p"},
		},
		"registry.example.com:5000/web": {
			BaseURL: "http://registry.example.com:5000", PlainHTTP: true, Host: "registry.example.com:5000", Repository: "web",
		},
		"[::1]:5000/web":       {BaseURL: "http://[::1]:5000", PlainHTTP: true, Host: "[::1]:5000", Repository: "web"},
		"registry.example/web": {BaseURL: "https://registry.example", Host: "registry.example", Repository: "web"},
	} {
		got, err := r.Locate(t.Context(), ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", ref, diff)
		}
	}
	if _, err := r.Locate(t.Context(), "?"); apron.KindOf(err) != apron.Invalid {
		t.Errorf("got %v", err)
	}
}
