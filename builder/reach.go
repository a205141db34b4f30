package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// keepUnreached is how long it is known of an image nobody wants any more that it was out of reach.
const keepUnreached = 30 * 24 * time.Hour

// unreached remembers, also for the next process, which images were out of reach and when that was
// last seen: a registry that does not answer takes seconds each time.
type unreached struct {
	file string

	mu sync.Mutex // guards at
	at map[string]time.Time
}

// openUnreached reads the file, if there is one that can be read: it holds nothing that cannot be found
// out again.
func openUnreached(file string) *unreached {
	u := &unreached{file: file, at: map[string]time.Time{}}
	if raw, err := os.ReadFile(file); err != nil || json.Unmarshal(raw, &u.at) != nil || u.at == nil {
		u.at = map[string]time.Time{}
	}
	return u
}

// since returns when the image was last out of reach; ok is false if it was not, or nobody knows.
func (u *unreached) since(image string) (at time.Time, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at, ok = u.at[image]
	return at, ok
}

// note remembers that the image was out of reach at a time.
func (u *unreached) note(image string, at time.Time) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.at[image] = at
	maps.DeleteFunc(u.at, func(_ string, seen time.Time) bool { return at.Sub(seen) > keepUnreached })
	return u.save()
}

// forget is for an image that was reached.
func (u *unreached) forget(image string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.at[image]; !ok {
		return nil
	}
	delete(u.at, image)
	return u.save()
}

// save writes the file; mu is held.
func (u *unreached) save() error {
	raw, err := json.Marshal(u.at)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(u.file), 0o700)
	}
	if err == nil {
		err = errors.Join(os.WriteFile(u.file+".new", raw, 0o600), os.Rename(u.file+".new", u.file))
	}
	if err != nil {
		return fmt.Errorf("note which images are out of reach: %w", err)
	}
	return nil
}
