package registry

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the storage driver named below
)

// maxListed is how many entries one page of a catalog or tag list has at most; clients page by
// 1000, as for ECR.
const maxListed = 1000

var errClosed = errors.New("the registry is closed")

// store returns the account's store, opening it at its first use. A store per account, rather than
// a prefix on every name, isolates accounts by construction: uploads, mounts, catalogs and messages
// hold nothing that would have to be rewritten or filtered.
func (r *Registry) store(account string) (*handlers.App, error) {
	if !isAccount(account) {
		return nil, fmt.Errorf("not an account: %q", account)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	if s := r.stores[account]; s != nil {
		return s, nil
	}
	s, err := r.open(account)
	if err != nil {
		return nil, err
	}
	r.stores[account] = s
	return s, nil
}

// open makes the account's store. NewApp panics on what it cannot use; it becomes an error here.
func (r *Registry) open(account string) (s *handlers.App, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("open store of %s: %v", account, p)
		}
	}()
	cfg := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": filepath.Join(r.cfg.Dir, account)},
			"delete":     {"enabled": true},
			"redirect":   {"disable": true},
			// Abandoned uploads of all accounts are removed by one goroutine that Close waits for.
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	cfg.HTTP.Secret = r.secret
	// Whatever name and port a client reached us by, it finds the next URL on the same.
	cfg.HTTP.RelativeURLs = true
	cfg.Catalog.MaxEntries = maxListed
	cfg.Tags.MaxTags = maxListed
	return handlers.NewApp(r.bridge.context(context.Background(), nil), cfg), nil
}

// isAccount guards the file system: only 12 decimal digits ever become a directory name.
func isAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
