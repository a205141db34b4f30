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
	// Insecure lists registry hosts spoken to over plain HTTP. Loopback hosts always are. No others are
	// ever sent credentials without TLS, mirrors neither.
	Insecure []string
	// Credentials maps the host[:port] of a registry, as it is contacted, to what it lets us in with.
	Credentials map[string]Credential
	// DockerConfig is a file in the format of docker's config.json, asked for registries that
	// Credentials does not name and read again when it changes. Its credential helpers are run. Empty:
	// none.
	DockerConfig string
	// Timeout bounds one Resolve. 0: 20 seconds.
	Timeout time.Duration
	// StallTimeout is how long a download may bring no byte before it is asked for again. 0: 30 seconds.
	StallTimeout time.Duration
	// Backoff is the pause before a request that failed is sent again, doubled after each of the four
	// further tries. 0: half a second.
	Backoff time.Duration
	// Transport carries all requests. nil: one with sane timeouts, made by New.
	Transport http.RoundTripper
}

// Resolver finds out which image a name means, and where to pull it from. It is safe for concurrent
// use.
type Resolver struct {
	cfg     Config
	mirrors map[string]Location // by host; parsed once
	keys    *keyring
	grants  *grants
	retry   retryPolicy
}

// New returns a Resolver. Its error says which part of the configuration cannot be used.
func New(cfg Config) (*Resolver, error) {
	r := &Resolver{
		cfg: cfg, mirrors: map[string]Location{}, grants: newGrants(), retry: defaultRetries(),
		keys: &keyring{fixed: map[string]Credential{}},
	}
	for host, base := range cfg.Mirrors {
		loc, err := parseBase(base)
		if err != nil {
			return nil, fmt.Errorf("mirror for %s: %w", host, err)
		}
		if loc.PlainHTTP && !loc.Anonymous() && !r.allowsPlain(loc.Host) {
			return nil, fmt.Errorf("mirror for %s: credentials go to %s without TLS only if it is one of the insecure registries", host, loc.Host)
		}
		r.mirrors[strings.ToLower(host)] = loc
	}
	for host, c := range cfg.Credentials {
		r.keys.fixed[registryKey(host)] = c
	}
	if cfg.DockerConfig != "" {
		r.keys.docker = &dockerConfig{path: cfg.DockerConfig}
		if _, err := r.keys.docker.load(); err != nil {
			return nil, err
		}
	}
	if r.cfg.Timeout <= 0 {
		r.cfg.Timeout = 20 * time.Second
	}
	if r.cfg.StallTimeout <= 0 {
		r.cfg.StallTimeout = 30 * time.Second
	}
	if cfg.Backoff > 0 {
		r.retry.first = cfg.Backoff
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
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 256 << 10,
		DisableCompression:     true, // digests are of what was sent
	}
}

// Resolve asks the registry which image identifier means now, and checks that it runs on Linux and
// this machine's architecture. The image's Reference names the ECR host for what is in the embedded registry, never
// the address it happens to listen on.
//
// It returns an Invalid Fault when the image cannot be had and that will not change by itself (not a
// reference, no such image, not authorised, wrong platform); any other error may pass, and is an
// UnavailableError if it has a reason for the user.
func (r *Resolver) Resolve(ctx context.Context, scope apron.Scope, identifier string) (apron.Image, error) {
	ref, err := r.reference(scope, identifier)
	if err != nil {
		return apron.Image{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	repository, err := r.open(ctx, ref)
	if err != nil {
		return apron.Image{}, err
	}
	q := &query{repository, maxManifests}
	digest, err := q.resolve(ctx)
	if err != nil {
		return apron.Image{}, fmt.Errorf("resolve image %s: %w", ref, err)
	}
	return apron.Image{Reference: ref.Canonical(digest), Digest: digest}, nil
}

// Close ends idle connections. Requests in progress are not touched.
func (r *Resolver) Close() {
	if c, ok := r.cfg.Transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
