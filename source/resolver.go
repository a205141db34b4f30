package source

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"apron"
)

// Config is what a Resolver needs. The zero value knows no embedded registry.
type Config struct {
	// Embedded returns how the embedded registry is reached for an account: its base URL (scheme and
	// host, as it listens now) and credentials. ok is false when the account does not live on this
	// server, so that its ECR names lead to AWS. It must be safe for concurrent use and not block.
	// nil: there is no embedded registry.
	Embedded func(account string) (baseURL, user, password string, ok bool)
	// EmbeddedHosts are further host:port names under which clients reach the embedded registry,
	// beside the host of its base URL (all loopback names count as one).
	EmbeddedHosts []string
	// Mirrors maps a registry host, as in Reference.Host, to the base URL to pull from instead. Path
	// and user information of the URL are used.
	Mirrors map[string]string
	// Insecure lists registry hosts spoken to over plain HTTP. Loopback hosts always are.
	Insecure []string
	// Timeout bounds one Resolve. 0: 20 seconds.
	Timeout time.Duration
	// Transport carries all requests. nil: one with sane timeouts, made by New.
	Transport http.RoundTripper
}

// Resolver finds out which image a name means, and where to pull it from. It is safe for concurrent
// use.
type Resolver struct {
	cfg     Config
	mirrors map[string]Location // by host; parsed once
}

// New returns a Resolver. Its error names the Mirrors entry that is not a URL.
func New(cfg Config) (*Resolver, error) {
	r := &Resolver{cfg: cfg, mirrors: map[string]Location{}}
	for host, base := range cfg.Mirrors {
		loc, err := parseBase(base)
		if err != nil {
			return nil, fmt.Errorf("mirror for %s: %w", host, err)
		}
		r.mirrors[strings.ToLower(host)] = loc
	}
	if r.cfg.Timeout <= 0 {
		r.cfg.Timeout = 20 * time.Second
	}
	if r.cfg.Transport == nil {
		r.cfg.Transport = newTransport()
	}
	return r, nil
}

// newTransport returns a transport in which no phase of a request can last for ever.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  15 * time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           16,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// Resolve asks the registry which image identifier means now, and checks that it runs on
// linux/amd64. The image's Reference names the ECR host for what is in the embedded registry, never
// the address it happens to listen on.
//
// It returns an Invalid Fault when the image cannot be had and that will not change by itself (not a
// reference, no such image, not authorised, wrong platform); any other error may pass.
func (r *Resolver) Resolve(ctx context.Context, scope apron.Scope, identifier string) (apron.Image, error) {
	ref, err := r.reference(scope, identifier)
	if err != nil {
		return apron.Image{}, err
	}
	loc, err := r.locate(ref)
	if err != nil {
		return apron.Image{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	q, err := newQuery(ref, loc, r.cfg.Transport)
	if err != nil {
		return apron.Image{}, fmt.Errorf("resolve image %s: %w", ref, err)
	}
	digest, err := q.resolve(ctx)
	if err != nil {
		return apron.Image{}, q.explain(err)
	}
	return apron.Image{Reference: ref.Canonical(digest), Digest: digest}, nil
}

// Close ends idle connections. Requests in progress are not touched.
func (r *Resolver) Close() {
	if c, ok := r.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
