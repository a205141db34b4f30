package registry

import "strings"

// Limits of the names in a path. What is longer the handlers would hand to the file system, and
// answer 500.
const (
	maxRepositoryBytes = 255 // of the distribution project's reference grammar
	maxUploadIDBytes   = 64  // ours are UUIDs
)

// resource is what a path below /v2/ names (OCI distribution specification, "endpoints").
type resource struct {
	repository string
	kind       string // manifests, blobs, uploads or tags; empty: none of a repository's
	reference  string // tag or digest, or the id of an upload; may be empty
}

// parsePath takes a path apart. A repository may itself have parts with the names of kinds, a
// reference never has a slash: the last kind counts. Grammar is left to the handlers.
func parsePath(path string) resource {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return resource{}
	}
	rest, isList := strings.CutSuffix(rest, "/tags/list")
	if isList {
		return resource{rest, "tags", ""}
	}
	slash := strings.LastIndexByte(rest, '/')
	if slash < 0 {
		return resource{}
	}
	head, reference := rest[:slash], rest[slash+1:]
	for _, kind := range []string{"manifests", "blobs/uploads", "blobs"} {
		if repository, ok := strings.CutSuffix(head, "/"+kind); ok && repository != "" {
			return resource{repository, strings.TrimPrefix(kind, "blobs/"), reference}
		}
	}
	return resource{}
}

// vet returns the OCI error code for a resource with a name too long to exist; empty: none.
func (r resource) vet() string {
	switch {
	case len(r.repository) > maxRepositoryBytes:
		return "NAME_INVALID"
	case r.kind == "uploads" && len(r.reference) > maxUploadIDBytes:
		return "BLOB_UPLOAD_INVALID"
	default:
		return ""
	}
}
