package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"
)

// module is a commit to write: of a submodule, or of the repository itself, whose path is empty.
type module struct {
	path   string // from the root of the export, with slashes
	commit string
	url    string // empty: nobody says
	level  int    // of submodules; 0 is the repository itself
}

func (m module) prefix() string {
	if m.path == "" {
		return ""
	}
	return m.path + "/"
}

// submodules fetches and writes submodules, and theirs. App Runner leaves them empty; one that
// cannot be had is left so too, with a warning, because the build may not need it.
func (e *export) submodules(ctx context.Context, queue []module) error {
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		err := errors.New("it is nested too deeply")
		if m.level <= maxSubmodules {
			var more []module
			more, err = e.submodule(ctx, m)
			queue = append(queue, more...)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			e.warn("The submodule %s is left empty: %s", shown(m.path), shown(strings.TrimSuffix(err.Error(), ".")))
		}
	}
	return nil
}

// complete adds to the submodules of a commit what .gitmodules says of them.
func (e *export) complete(ctx context.Context, dir string, parent module, list []module) []module {
	if len(list) == 0 {
		return nil
	}
	urls := e.moduleURLs(ctx, dir, parent.commit)
	for i, m := range list {
		if full, err := relativeURL(parent.url, urls[m.path]); err == nil {
			list[i].url = full
		}
		list[i].path, list[i].level = parent.prefix()+m.path, parent.level+1
	}
	return list
}

// moduleURLs returns the URLs of the submodules by path, as .gitmodules has them.
func (e *export) moduleURLs(ctx context.Context, dir, commit string) map[string]string {
	out, err := e.git.git(ctx, dir, "config", "-z", "--blob", commit+":.gitmodules", "--get-regexp", `^submodule\..*\.(path|url)$`)
	if err != nil {
		return nil // there is no such file, or it is broken: every submodule will say that it has no URL
	}
	paths, urls := map[string]string{}, map[string]string{}
	for record := range bytes.SplitSeq(out, []byte{0}) {
		key, value, _ := strings.Cut(string(record), "\n")
		if name, ok := strings.CutSuffix(key, ".path"); ok {
			paths[name] = value
		} else if name, ok := strings.CutSuffix(key, ".url"); ok {
			urls[name] = value
		}
	}
	byPath := map[string]string{}
	for name, p := range paths {
		byPath[path.Clean(p)] = urls[name]
	}
	return byPath
}

func (e *export) submodule(ctx context.Context, m module) ([]module, error) {
	if m.url == "" {
		return nil, errors.New("it has no URL that can be read")
	}
	repo := GitRepository{Account: e.repo.Account, URL: m.url, Branch: "main"} // the branch is not used
	if sameOrigin(e.repo.URL, m.url) {
		repo.Credential = e.repo.Credential
	}
	r, err := e.git.open(ctx, repo)
	if err != nil {
		return nil, err
	}
	defer r.close()
	dir := r.embedded
	if dir == "" {
		name := digestName("submodule", repo.Account, r.address)
		unlock, err := e.git.lock(ctx, name)
		if err != nil {
			return nil, err
		}
		defer unlock()
		dir = filepath.Join(e.git.caches(), name)
		if err := e.git.fetchCommit(ctx, r, dir, m.commit); err != nil {
			return nil, err
		}
	}
	if err := e.root.MkdirAll(m.path, 0o755); err != nil {
		return nil, err
	}
	return e.commit(ctx, dir, m)
}

// fetchCommit brings one commit into the cache, or, when the server gives none out by its id, all
// branches.
func (g *Git) fetchCommit(ctx context.Context, r *origin, dir, commit string) error {
	if err := g.initialize(ctx, dir); err != nil {
		return err
	}
	if _, err := g.git(ctx, dir, "cat-file", "-e", commit+"^{commit}"); err == nil {
		return nil
	}
	fetch := func(args ...string) error {
		args = append([]string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance"}, args...)
		_, err := r.git(ctx, dir, args...)
		return err
	}
	err := fetch("--depth=1", "--", r.address, "+"+commit+":refs/apron/"+commit)
	if err != nil {
		err = fetch("--", r.address, "+refs/heads/*:refs/apron/heads/*")
	}
	if err != nil {
		return r.explain(ctx, err)
	}
	return nil
}

// relativeURL resolves the URL of a submodule against its parent's (git-submodule, "add").
func relativeURL(parent, address string) (string, error) {
	if address == "" {
		return "", errors.New("it has no URL")
	}
	if strings.HasPrefix(address, "./") || strings.HasPrefix(address, "../") {
		u, err := url.Parse(parent)
		if err != nil {
			return "", err
		}
		u.Path = path.Join(u.Path, address)
		return u.String(), nil
	}
	if host, rest, ok := strings.Cut(address, ":"); ok && !strings.Contains(host, "/") && !strings.HasPrefix(rest, "//") {
		return "ssh://" + host + "/" + strings.TrimPrefix(rest, "/"), nil // the scp-like form
	}
	if u, err := url.Parse(address); err != nil || u.Scheme == "" {
		return "", fmt.Errorf("%s is no URL", shown(address))
	}
	return address, nil
}

// sameOrigin reports whether two URLs lead to the same host by the same protocol.
func sameOrigin(a, b string) bool {
	u, err := url.Parse(a)
	v, err2 := url.Parse(b)
	return err == nil && err2 == nil && u.Scheme == v.Scheme && strings.EqualFold(u.Host, v.Host)
}
