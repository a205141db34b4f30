package registry

import (
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sys/unix"
)

// spaceEvery is after how many bytes of an upload the free space is looked at again.
const spaceEvery = 32 << 20

var errNoSpace = errors.New("the disk is nearly full")

// checkSpace returns errNoSpace when a request that brings n bytes (-1: unknown) would leave less disk
// space than is to stay free. What cannot be measured is no obstacle.
func (r *Registry) checkSpace(n int64) error {
	if r.cfg.MinFreeBytes <= 0 {
		return nil
	}
	free, err := r.free(r.cfg.Dir)
	if err == nil && free-max(n, 0) < r.cfg.MinFreeBytes {
		return errNoSpace
	}
	return nil
}

// freeBytes returns how much an ordinary user may still write to the file system of dir.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("measure free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// vetSpace answers the request and returns false if it would bring what there is no space for.
func (r *Registry) vetSpace(x *exchange, req *http.Request, res resource) bool {
	brings := req.Method == http.MethodPost || req.Method == http.MethodPatch || req.Method == http.MethodPut
	if !brings || res.kind != "uploads" && res.kind != "manifests" {
		return true
	}
	if err := r.checkSpace(req.ContentLength); err != nil {
		writeNoSpace(x)
		return false
	}
	return true
}

// writeNoSpace answers 507 (RFC 4918, 11.5), in the form of the OCI specification; it has no code for
// this, the distribution project's for what is not possible now comes closest.
func writeNoSpace(w http.ResponseWriter) {
	writeError(w, http.StatusInsufficientStorage, "UNAVAILABLE", "the registry's disk is nearly full: delete images, or make room on the server")
}
