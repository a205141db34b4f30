package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"sync"
)

// signingKey is derived from a secret for one date, region and service.
type signingKey [sha256.Size]byte

type keyID struct{ secret, date, region, service string }

// derive computes the signing key ("Task 3" of the SigV4 reference).
func (k keyID) derive() signingKey {
	sum := []byte("AWS4" + k.secret)
	for _, part := range [...]string{k.date, k.region, k.service, terminator} {
		mac := hmac.New(sha256.New, sum)
		mac.Write([]byte(part))
		sum = mac.Sum(nil)
	}
	return signingKey(sum)
}

// maxKeys is the size of one generation of cached signing keys.
const maxKeys = 512

// keyCache keeps the signing keys last used. When the young generation is full it becomes the old
// one, and the former old one is forgotten: a bounded cache without bookkeeping per use.
type keyCache struct {
	mu    sync.Mutex // guards both maps
	young map[keyID]signingKey
	old   map[keyID]signingKey
}

func (c *keyCache) get(id keyID) (signingKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key, ok := c.young[id]; ok {
		return key, true
	}
	key, ok := c.old[id]
	if ok {
		c.add(id, key)
	}
	return key, ok
}

func (c *keyCache) put(id keyID, key signingKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(id, key)
}

// add needs c.mu. The parts of id are cloned: they point into request headers.
func (c *keyCache) add(id keyID, key signingKey) {
	if c.young == nil || len(c.young) >= maxKeys {
		c.old, c.young = c.young, make(map[keyID]signingKey)
	}
	id = keyID{strings.Clone(id.secret), strings.Clone(id.date), strings.Clone(id.region), strings.Clone(id.service)}
	c.young[id] = key
}
