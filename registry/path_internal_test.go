package registry

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string]resource{
		"/v2/":                              {},
		"/v2/_catalog":                      {},
		"/v2/web":                           {},
		"/v2/manifests/v1":                  {},
		"/v1/web/manifests/v1":              {},
		"/v2/web/manifests/v1":              {"web", "manifests", "v1"},
		"/v2/a/b/manifests/sha256:00":       {"a/b", "manifests", "sha256:00"},
		"/v2/a/manifests/manifests/v1":      {"a/manifests", "manifests", "v1"},
		"/v2/manifests/manifests/manifests": {"manifests", "manifests", "manifests"},
		"/v2/web/blobs/sha256:00":           {"web", "blobs", "sha256:00"},
		"/v2/web/blobs/uploads/":            {"web", "uploads", ""},
		"/v2/web/blobs/uploads/1-2":         {"web", "uploads", "1-2"},
		"/v2/a/tags/list":                   {"a", "tags", ""},
		"/v2/tags/list":                     {},
	} {
		if diff := cmp.Diff(want, parsePath(path), cmp.AllowUnexported(resource{})); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	for path, want := range map[string]string{
		"/v2/" + strings.Repeat("a", 255) + "/tags/list":             "",
		"/v2/" + strings.Repeat("a/", 128) + "manifests/v1":          "",
		"/v2/" + strings.Repeat("a", 256) + "/manifests/v1":          "NAME_INVALID",
		"/v2/web/blobs/uploads/0b2c53a4-6b5c-4d5e-8f69-2a8f1d6b2f10": "",
		"/v2/web/blobs/uploads/" + strings.Repeat("a", 65):           "BLOB_UPLOAD_INVALID",
	} {
		if got := parsePath(path).vet(); got != want {
			t.Errorf("%.60s: got %q, want %q", path, got, want)
		}
	}
}
