package source

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// maxDockerConfigBytes bounds the file; real ones have a few kilobytes.
const maxDockerConfigBytes = 1 << 20

// dockerConfig is a file in the format of docker's config.json, read again whenever it changes.
type dockerConfig struct {
	path string

	mu     sync.Mutex // guards the fields below; held while the file is read
	mtime  time.Time
	size   int64
	parsed *dockerAuths // nil: not read yet
}

// dockerAuths is what the file says about credentials, its keys in the form of registryKey.
type dockerAuths struct {
	auths   map[string]Credential
	helpers map[string]string // name of the credential helper for one registry
	store   string            // name of the one for all others; empty: none
}

// find returns the credential for a registry. As in docker, the helper for the registry wins over
// the one for all, and that over what stands in the file.
func (d *dockerConfig) find(ctx context.Context, key string) (Credential, error) {
	file, err := d.load()
	if err != nil {
		return Credential{}, err
	}
	helper, ok := file.helpers[key]
	if !ok {
		helper = file.store
	}
	if helper != "" {
		c, err := askHelper(ctx, helper, serverURL(key))
		if err != nil || !c.Anonymous() {
			return c, err
		}
	}
	return file.auths[key], nil
}

// serverURL is how a helper knows a registry: docker asks for Docker Hub by this URL alone.
func serverURL(key string) string {
	if key == "docker.io" {
		return "https://index.docker.io/v1/"
	}
	return key
}

func (d *dockerConfig) load() (*dockerAuths, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	info, err := os.Stat(d.path)
	if err != nil {
		return nil, fmt.Errorf("read docker configuration: %w", err)
	}
	if d.parsed != nil && info.ModTime().Equal(d.mtime) && info.Size() == d.size {
		return d.parsed, nil
	}
	b, err := readLimited(d.path, maxDockerConfigBytes)
	if err != nil {
		return nil, fmt.Errorf("read docker configuration: %w", err)
	}
	parsed, err := parseDockerConfig(b)
	if err != nil {
		return nil, fmt.Errorf("docker configuration %s: %w", d.path, err)
	}
	d.parsed, d.mtime, d.size = parsed, info.ModTime(), info.Size()
	return parsed, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errors.New("the file is too large")
	}
	return b, err
}

// helperName is what may follow docker-credential- in the name of a program.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// parseDockerConfig reads what docker's config.json says about credentials and nothing else of it.
// Its errors repeat nothing of the content but the names of registries.
func parseDockerConfig(b []byte) (*dockerAuths, error) {
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
		CredHelpers map[string]string `json:"credHelpers"`
		CredsStore  string            `json:"credsStore"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, errors.New("not JSON of docker's form")
	}
	d := &dockerAuths{auths: map[string]Credential{}, helpers: map[string]string{}, store: file.CredsStore}
	for name, entry := range file.Auths {
		c := Credential{User: entry.Username, Password: entry.Password, IdentityToken: entry.IdentityToken, RegistryToken: entry.RegistryToken}
		if entry.Auth != "" {
			user, password, ok := decodeAuth(entry.Auth)
			if !ok {
				return nil, fmt.Errorf("the auth of %q is not base64 of user:password", name)
			}
			c.User, c.Password = user, password
		}
		if !c.Anonymous() {
			d.auths[registryKey(name)] = c
		}
	}
	for name, helper := range file.CredHelpers {
		if !helperName.MatchString(helper) {
			return nil, fmt.Errorf("the credential helper of %q has no usable name", name)
		}
		d.helpers[registryKey(name)] = helper
	}
	if d.store != "" && !helperName.MatchString(d.store) {
		return nil, errors.New("credsStore has no usable name")
	}
	return d, nil
}

// decodeAuth takes the member auth apart; docker pads what it encodes with zero bytes.
func decodeAuth(s string) (user, password string, ok bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(b), ":")
	return user, strings.Trim(password, "\x00"), ok && user != ""
}
