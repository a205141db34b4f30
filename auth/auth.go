// Package auth knows who may speak to Apron: principals, each with access keys in the store.
//
// Every signed request looks its key up in the store. Package sigv4 checks signatures with the
// secrets found here, after which [Auth.Used] notes the use; the registry checks passwords with
// [Auth.CheckBasic].
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"apron"
	"apron/store"
)

const (
	// flushEvery is how often the times of last use are written.
	flushEvery = time.Minute
	// maxID is longer than any access key id (IAM API reference: 128).
	maxID = 128
)

// Auth looks access keys up and changes them. It asks the store each time, so that what another
// process changes, such as `apron keys disable`, holds for the next request. It is safe for
// concurrent use.
type Auth struct {
	store *store.Store
	now   func() time.Time

	mu   sync.Mutex           // guards used
	used map[string]time.Time // last use by key id, not yet written
}

// New returns an Auth over the keys in s. now tells the time; nil means time.Now.
func New(s *store.Store, now func() time.Time) *Auth {
	if now == nil {
		now = time.Now
	}
	return &Auth{store: s, now: now, used: make(map[string]time.Time)}
}

// Key returns the access key with the id. A disabled key is treated as one that does not exist: false.
// An error means that the store could not be read. To look a key up is no use of it: anybody can name
// one. See Used.
func (a *Auth) Key(ctx context.Context, id string) (apron.AccessKey, bool, error) {
	key, err := a.find(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && key.Disabled {
		return apron.AccessKey{}, false, nil
	}
	if err != nil {
		return apron.AccessKey{}, false, fmt.Errorf("look up access key: %w", err)
	}
	return key, true, nil
}

// CheckBasic returns the access key whose id is user and whose secret is password, and notes that it
// was used. false: there is no such key, it is disabled, the password is wrong, or the store could
// not be read. How long it takes does not tell the secret.
func (a *Auth) CheckBasic(ctx context.Context, user, password string) (apron.AccessKey, bool) {
	key, err := a.find(ctx, user)
	given, secret := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(key.Secret))
	same := subtle.ConstantTimeCompare(given[:], secret[:]) == 1
	if err != nil || key.Disabled || key.Secret == "" || !same {
		return apron.AccessKey{}, false
	}
	a.Used(key.ID)
	return key, true
}

// find returns the key from the store, disabled or not. store.ErrNotFound.
func (a *Auth) find(ctx context.Context, id string) (apron.AccessKey, error) {
	if id == "" || len(id) > maxID || strings.ContainsRune(id, 0) || !utf8.ValidString(id) {
		return apron.AccessKey{}, store.ErrNotFound
	}
	return a.store.AccessKey(ctx, id)
}

// Used notes that the key with the id was used just now, by somebody who has proved to have its
// secret. Run writes it. It never blocks on the store.
func (a *Auth) Used(id string) {
	now := a.now()
	a.mu.Lock()
	a.used[id] = now
	a.mu.Unlock()
}

// Insert adds a key. store.ErrExists: the id is taken.
func (a *Auth) Insert(ctx context.Context, key apron.AccessKey) error {
	return a.store.Tx(ctx, func(tx *store.Tx) error { return tx.InsertAccessKey(ctx, key) })
}

// SetDisabled disables a key, or enables it again. When it returns, no request that begins later is
// accepted with a disabled key. store.ErrNotFound.
func (a *Auth) SetDisabled(ctx context.Context, id string, disabled bool) error {
	return a.store.Tx(ctx, func(tx *store.Tx) error { return tx.SetAccessKeyDisabled(ctx, id, disabled) })
}

// Delete removes a key for good, at once as SetDisabled does. store.ErrNotFound.
func (a *Auth) Delete(ctx context.Context, id string) error {
	return a.store.Tx(ctx, func(tx *store.Tx) error { return tx.DeleteAccessKey(ctx, id) })
}

// Run writes when keys were last used, at most once a minute for each, until ctx is done, and then
// what is left. What cannot be written is kept for the next time; Run returns the error of the last
// write only.
func (a *Auth) Run(ctx context.Context) error {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = a.flush(ctx) // nothing is lost; a store that stays away is reported by those who need it
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return a.flush(ctx)
		}
	}
}

func (a *Auth) flush(ctx context.Context) error {
	a.mu.Lock()
	used := a.used
	a.used = make(map[string]time.Time)
	a.mu.Unlock()
	err := a.store.TouchAccessKeys(ctx, used)
	if err == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, at := range used {
		if _, later := a.used[id]; !later {
			a.used[id] = at
		}
	}
	return err
}
