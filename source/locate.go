package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"apron"
)

// Location is where an image can be pulled from right now. It is not to be stored: ports and
// passwords change.
type Location struct {
	BaseURL    string // scheme://host[:port] of the registry, without /v2/ and without credentials
	PlainHTTP  bool   // BaseURL's scheme is http
	Host       string // host[:port] of BaseURL
	Repository string // the repository's name there
	Digest     string // what to pull; empty if the reference had none
	Embedded   bool   // the registry is the one in this process
	Credential
}

// String returns the location without its credential.
func (l Location) String() string { return l.BaseURL + "/" + l.Repository + "@" + l.Digest }

// dockerHub is where the registry called docker.io answers.
const dockerHub = "registry-1.docker.io"

// Locate returns where the image ref names is pulled from: ref is the Reference of an apron.Image
// or anything ParseReference accepts. It sends nothing, but may read the docker configuration and run
// a credential helper. Its error is an Invalid Fault, an UnavailableError when credentials cannot be
// read, or plain when the embedded registry's own URL is wrong.
func (r *Resolver) Locate(ctx context.Context, ref string) (Location, error) {
	parsed, err := ParseReference(ref)
	if err != nil {
		return Location{}, err
	}
	return r.locate(ctx, parsed)
}

func (r *Resolver) locate(ctx context.Context, ref Reference) (Location, error) {
	loc, err := r.base(ref)
	if err == nil {
		err = r.addCredential(ctx, &loc)
	}
	if err != nil {
		return Location{}, fmt.Errorf("locate image %s: %w", ref, err)
	}
	loc.Repository = path.Join(loc.Repository, ref.Repository)
	loc.Digest = ref.Digest
	return loc, nil
}

// base returns the registry for ref; its Repository is what comes before every name there.
func (r *Resolver) base(ref Reference) (Location, error) {
	if ref.Kind == ECR {
		if baseURL, user, password, ok := r.embedded(ref.Account); ok {
			loc, err := parseBase(baseURL)
			loc.Embedded, loc.User, loc.Password = true, user, password
			return loc, err
		}
	}
	if mirror, ok := r.mirrors[ref.Host]; ok {
		return mirror, nil
	}
	host := ref.Host
	if host == "docker.io" {
		host = dockerHub
	}
	if r.allowsPlain(host) {
		return Location{BaseURL: "http://" + host, PlainHTTP: true, Host: host}, nil
	}
	return Location{BaseURL: "https://" + host, Host: host}, nil
}

// allowsPlain reports whether a registry may be spoken to without TLS.
func (r *Resolver) allowsPlain(host string) bool {
	return isLoopback(host) || slices.Contains(r.cfg.Insecure, host)
}

// addCredential looks up what the registry at the location lets us in with, unless that is known
// already. It goes by the host that is contacted: a mirror has credentials of its own.
func (r *Resolver) addCredential(ctx context.Context, loc *Location) error {
	if loc.Embedded || !loc.Anonymous() {
		return nil
	}
	found, err := r.keys.find(ctx, loc.Host)
	if err != nil || found.Anonymous() {
		return err
	}
	if loc.PlainHTTP && !r.allowsPlain(loc.Host) {
		return apron.Faultf(apron.Invalid, "There are credentials for the registry %s, which are not sent without TLS: it is not one of the insecure-registries.", loc.Host)
	}
	loc.Credential = found
	return nil
}

// parseBase reads the base URL of a registry. Its errors do not repeat the URL, which may hold a
// password.
func parseBase(s string) (Location, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return Location{}, errors.New("the registry's URL is not of the form scheme://host[:port][/path]")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return Location{}, errors.New("the registry's URL is neither http nor https")
	}
	host := strings.ToLower(u.Host)
	loc := Location{
		BaseURL: u.Scheme + "://" + host, PlainHTTP: u.Scheme == "http", Host: host,
		Repository: strings.Trim(path.Clean("/"+u.Path), "/"),
	}
	if u.User != nil {
		loc.User = u.User.Username()
		loc.Password, _ = u.User.Password()
	}
	return loc, nil
}

func (r *Resolver) embedded(account string) (baseURL, user, password string, ok bool) {
	if r.cfg.Embedded == nil {
		return "", "", "", false
	}
	return r.cfg.Embedded(account)
}

// localize returns the reference as the account means it: an address of the embedded registry is
// the same as the account's own ECR registry, so that what is stored outlives the address.
func (r *Resolver) localize(scope apron.Scope, ref Reference) (Reference, error) {
	if ref.Kind == ECR && ref.Account != scope.Account {
		if _, _, _, ok := r.embedded(ref.Account); ok {
			// Accounts on this server never see each other's repositories.
			return ref, denied(ref, nil)
		}
		return ref, nil
	}
	baseURL, _, _, ok := r.embedded(scope.Account)
	if !ok {
		return ref, nil
	}
	hosts := r.cfg.EmbeddedHosts
	if base, err := parseBase(baseURL); err == nil {
		hosts = append(slices.Clone(hosts), base.Host)
	}
	if slices.ContainsFunc(hosts, func(h string) bool { return sameHost(h, ref.Host) }) {
		return ref.ecrReference(scope), nil
	}
	return ref, nil
}

// sameHost reports whether two host:port pairs are one listener: they are equal, or both are names
// of this machine's loopback with the same port.
func sameHost(a, b string) bool {
	if strings.EqualFold(a, b) {
		return true
	}
	_, portA, errA := net.SplitHostPort(a)
	_, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && isLoopback(a) && isLoopback(b)
}

// isLoopback reports whether host, with or without a port, is this machine by name or address.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
