package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
)

// maxManifestBytes is the largest manifest taken, the distribution handlers' own limit (the OCI
// specification asks for at least this).
const maxManifestBytes = 4 << 20

// vetManifest looks at a manifest before the handlers do, which answer 500 to one without a known
// schemaVersion. It answers the request and returns false if it goes no further. manifest is nil for a
// request that brings none.
func vetManifest(x *exchange, req *http.Request, res resource) (manifest []byte, ok bool) {
	if res.kind != "manifests" || req.Method != http.MethodPut {
		return nil, true
	}
	b, err := io.ReadAll(http.MaxBytesReader(x, req.Body, maxManifestBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeError(x, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "the manifest is larger than 4 MiB")
		return nil, false
	case errors.Is(err, errNoSpace):
		writeNoSpace(x)
		return nil, false
	case err != nil:
		writeError(x, brokenStatus(err), "MANIFEST_INVALID", "the manifest could not be read")
		return nil, false
	}
	var form struct {
		SchemaVersion int `json:"schemaVersion"`
	}
	if err := json.Unmarshal(b, &form); err != nil || form.SchemaVersion != 2 {
		writeError(x, http.StatusBadRequest, "MANIFEST_INVALID", "not a manifest of schemaVersion 2")
		return nil, false
	}
	req.Body = io.NopCloser(bytes.NewReader(b))
	return b, true
}

// announce tells OnPush of a manifest that was stored. The answer to the request is the event: it is
// the one place where name, tag and digest are all known to be good.
func (r *Registry) announce(account string, req *http.Request, res resource, x *exchange) {
	if r.cfg.OnPush == nil || res.kind != "manifests" || req.Method != http.MethodPut || x.status != http.StatusCreated {
		return
	}
	tag := res.reference
	if strings.Contains(tag, ":") {
		tag = ""
	}
	r.cfg.OnPush(account, res.repository, tag, x.Header().Get("Docker-Content-Digest"))
}
