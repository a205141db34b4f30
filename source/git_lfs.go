package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"apron"
)

// pointer is a file that stands in for one in Git LFS.
type pointer struct {
	path   string // from the root of the export
	module string // URL of the repository it is of
	oid    string // SHA-256 of the content, hexadecimal
	size   int64
}

// Bounds of Git LFS.
const (
	maxPointerBytes = 1024 // Git LFS specification, "the pointer"
	lfsBatch        = 100  // objects asked for at a time
	maxBatchBytes   = 4 << 20
)

const lfsMediaType = "application/vnd.git-lfs+json"

var pointerForm = regexp.MustCompile(`\A` + regexp.QuoteMeta(lfsPointer) + `(?:[a-z0-9.-]+ .*\n)*?oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n\z`)

// parsePointer reads a file that begins like a pointer. ok is false when it is none.
func parsePointer(text []byte) (oid string, size int64, ok bool) {
	m := pointerForm.FindSubmatch(text)
	if m == nil {
		return "", 0, false
	}
	size, err := strconv.ParseInt(string(m[2]), 10, 64)
	return string(m[1]), size, err == nil
}

// large puts the content of files in Git LFS in the place of their pointers. It is fetched here and not
// by git-lfs, which would go wherever a server sends it. What cannot be had stays a pointer, with a
// warning: the build may not need it.
func (e *export) large(ctx context.Context) error {
	byModule := map[string][]pointer{}
	for _, p := range e.pointers {
		byModule[p.module] = append(byModule[p.module], p)
	}
	for address, list := range byModule {
		err := e.largeOf(ctx, address, list)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errTreeTooLarge) {
			return e.tooLarge()
		}
		if err != nil {
			e.warn("Files in Git LFS stay pointers, such as %s: %s", shown(list[0].path), shown(strings.TrimSuffix(err.Error(), ".")))
		}
	}
	return nil
}

// errTreeTooLarge says that the files of a commit are more than is allowed.
var errTreeTooLarge = errors.New("the files are too large")

func (e *export) largeOf(ctx context.Context, address string, list []pointer) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("only repositories over http and https have them")
	}
	u.User = nil
	endpoint := strings.TrimSuffix(strings.TrimRight(u.String(), "/"), ".git") + ".git/info/lfs/objects/batch"
	client := e.git.client()
	for len(list) > 0 {
		n := min(len(list), lfsBatch)
		if err := e.batch(ctx, client, endpoint, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// lfsObject is an object in a batch (Git LFS specification, "batch API").
type lfsObject struct {
	OID     string                    `json:"oid"`
	Size    int64                     `json:"size"`
	Actions map[string]lfsAction      `json:"actions,omitempty"`
	Error   *struct{ Message string } `json:"error,omitempty"`
}

type lfsAction struct {
	Href   string            `json:"href"`
	Header map[string]string `json:"header,omitempty"`
}

// batch asks where some objects are and fetches them.
func (e *export) batch(ctx context.Context, client *http.Client, endpoint string, list []pointer) error {
	ask := struct {
		Operation string      `json:"operation"`
		Transfers []string    `json:"transfers"`
		Objects   []lfsObject `json:"objects"`
	}{Operation: "download", Transfers: []string{"basic"}}
	for _, p := range list {
		ask.Objects = append(ask.Objects, lfsObject{OID: p.oid, Size: p.size})
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", lfsMediaType)
	req.Header.Set("Content-Type", lfsMediaType)
	e.authorize(req)
	var answer struct {
		Objects []lfsObject `json:"objects"`
	}
	if err := exchange(client, req, func(r io.Reader) error { return json.NewDecoder(io.LimitReader(r, maxBatchBytes)).Decode(&answer) }); err != nil {
		return err
	}
	found := map[string]lfsObject{}
	for _, o := range answer.Objects {
		found[o.OID] = o
	}
	for _, p := range list {
		o := found[p.oid]
		if o.Error != nil || o.Actions["download"].Href == "" {
			return fmt.Errorf("the server does not have %s", p.path)
		}
		if err := e.download(ctx, client, endpoint, o.Actions["download"], p); err != nil {
			return err
		}
	}
	return nil
}

// authorize adds the credential to requests to the repository's own host, for which Fetch found it to be.
func (e *export) authorize(req *http.Request) {
	if c := e.repo.Credential; c.Token != "" && sameOrigin(e.repo.URL, req.URL.String()) {
		user := c.User
		if user == "" {
			user = defaultUser
		}
		req.SetBasicAuth(user, c.Token)
	}
}

// download fetches one object and puts it in the place of its pointer once it is what it should be.
func (e *export) download(ctx context.Context, client *http.Client, endpoint string, from lfsAction, p pointer) error {
	if e.bytes -= p.size; e.bytes < 0 {
		return errTreeTooLarge
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from.Href, http.NoBody)
	if err != nil {
		return errors.New("the server says where to fetch in no form that could be read")
	}
	if sameOrigin(endpoint, from.Href) {
		e.authorize(req)
	}
	for name, value := range from.Header {
		req.Header.Set(name, value)
	}
	return exchange(client, req, func(r io.Reader) error { return e.replace(r, p) })
}

func (e *export) replace(content io.Reader, p pointer) error {
	fresh := p.path + ".lfs-new"
	f, err := e.root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(content, p.size+1))
	if err = errors.Join(err, f.Close()); err == nil && (n != p.size || hex.EncodeToString(sum.Sum(nil)) != p.oid) {
		err = fmt.Errorf("the content of %s is not what its pointer says", p.path)
	}
	if err == nil {
		var st os.FileInfo
		if st, err = e.root.Stat(p.path); err == nil {
			err = e.root.Chmod(fresh, st.Mode().Perm())
		}
	}
	if err == nil {
		return e.root.Rename(fresh, p.path)
	}
	return errors.Join(err, e.root.Remove(fresh))
}

// exchange makes a request and has read take the answer.
func exchange(client *http.Client, req *http.Request, read func(io.Reader) error) error {
	req.Header.Set("User-Agent", "git/apron")
	res, err := client.Do(req)
	if f := new(apron.Fault); errors.As(err, &f) {
		return f // an address that is not allowed
	}
	if err != nil {
		return fmt.Errorf("%s cannot be reached", req.URL.Hostname()) // the error may hold a signed URL
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", req.URL.Hostname(), res.StatusCode)
	}
	return read(res.Body)
}
