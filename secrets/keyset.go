// Package secrets keeps what must not be read: it encrypts values for the store, under keys that are
// in a file beside it.
//
// A [Keyset] seals a value for one purpose and opens it for the same purpose alone, so that a sealed
// value put elsewhere in the store is of no use. Further keys can be added: new values are sealed
// with the newest, old ones are opened with theirs.
package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ErrSealed is returned for sealed values that cannot be opened: they were changed, are for another
// purpose, or their key is gone.
var ErrSealed = errors.New("a sealed value cannot be opened with the keys there are")

// Keyset is a set of keys. It is safe for concurrent use; it never changes.
type Keyset struct {
	newest string
	keys   map[string][]byte // 32 bytes each, by id
}

// keyFile is a Keyset as it is kept.
type keyFile struct {
	Newest string            `json:"newest"`
	Keys   map[string]string `json:"keys"` // base64, by id
}

// keyBytes is the length of a key: AES-256.
const keyBytes = 32

// Open reads the keys from the file of that name in dir, which is made with a first key, mode 0600,
// if absent. Whoever loses the file loses what was sealed.
func Open(dir *os.Root, name string) (*Keyset, error) {
	text, err := dir.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(dir, name); err == nil {
			text, err = dir.ReadFile(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	var f keyFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read keys: %s is no file of keys", name)
	}
	k := &Keyset{newest: f.Newest, keys: map[string][]byte{}}
	for id, encoded := range f.Keys {
		key, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(key) != keyBytes || strings.Contains(id, ".") {
			return nil, fmt.Errorf("read keys: key %s in %s is none", id, name)
		}
		k.keys[id] = key
	}
	if k.keys[k.newest] == nil {
		return nil, fmt.Errorf("read keys: %s lacks its newest key", name)
	}
	return k, nil
}

// create writes a first key. Of two that do so at once, one wins.
func create(dir *os.Root, name string) error {
	var id [4]byte
	key := make([]byte, keyBytes)
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(key)
	text, err := json.MarshalIndent(keyFile{
		Newest: hex.EncodeToString(id[:]), Keys: map[string]string{hex.EncodeToString(id[:]): base64.StdEncoding.EncodeToString(key)},
	}, "", "  ")
	if err != nil {
		return err
	}
	temporary := name + "." + hex.EncodeToString(id[:])
	f, err := dir.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = dir.Link(temporary, name) // unlike a rename, it does not replace another's
	}
	if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return errors.Join(err, dir.Remove(temporary))
}

// version begins every sealed value, so that another form can take over.
const version = "v1"

// Seal encrypts a value for a purpose, such as connection/<id>. The result is text without blanks.
func (k *Keyset) Seal(purpose string, value []byte) (string, error) {
	aead, err := k.aead(k.newest)
	if err != nil {
		return "", err
	}
	sealed := aead.Seal(nil, nil, value, []byte(purpose)) //nolint:gosec // the nonce is random, see aead
	return version + "." + k.newest + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open decrypts what Seal made for the purpose. ErrSealed.
func (k *Keyset) Open(purpose, sealed string) ([]byte, error) {
	parts := strings.Split(sealed, ".")
	if len(parts) != 3 || parts[0] != version || k.keys[parts[1]] == nil {
		return nil, ErrSealed
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, ErrSealed
	}
	aead, err := k.aead(parts[1])
	if err != nil {
		return nil, err
	}
	value, err := aead.Open(nil, nil, b, []byte(purpose))
	if err != nil {
		return nil, ErrSealed
	}
	return value, nil
}

// aead is AES-256-GCM with a random nonce in front, under a key derived for sealing alone. A key is
// good for 2^32 values (NIST SP 800-38D, 8.3).
func (k *Keyset) aead(id string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.keys[id], nil, "apron seal", keyBytes)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Token returns a secret for a purpose, such as webhook/<service>: 64 hexadecimal digits that nobody
// without the keys can tell, and the same each time as long as the newest key stays.
func (k *Keyset) Token(purpose string) (string, error) {
	key, err := hkdf.Key(sha256.New, k.keys[k.newest], nil, "apron token", keyBytes)
	if err != nil {
		return "", fmt.Errorf("derive key: %w", err)
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose))
	return hex.EncodeToString(h.Sum(nil)), nil
}
