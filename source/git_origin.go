package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"apron"
)

// origin is a repository that may be spoken to: its address was looked at, and git is told to use
// just that.
type origin struct {
	g        *Git
	repo     GitRepository
	address  string // what git is given: no password, and no user but for ssh
	shown    string // the same for people
	embedded string // directory, when this server hosts it; else empty
	env      []string
	settings []setting
	keyFile  string // removed by close; empty: none
}

type setting struct{ key, value string }

// open checks the repository's URL and branch and makes ready what git needs to reach it.
func (g *Git) open(ctx context.Context, repo GitRepository) (_ *origin, err error) {
	if err := checkBranch(repo.Branch); err != nil {
		return nil, err
	}
	u, err := url.Parse(repo.URL)
	if err != nil {
		return nil, apron.Faultf(apron.Invalid, "The repository's URL is not one.")
	}
	r := &origin{g: g, repo: repo}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if _, ok := u.User.Password(); ok || u.Scheme != "ssh" {
		u.User = nil
	}
	u.Fragment, u.RawQuery = "", ""
	r.address = u.String()
	r.shown = shown(r.address)
	if g.cfg.Embedded != nil {
		if dir, ok := g.cfg.Embedded(repo.Account, u); ok {
			if _, err := os.Stat(dir); err != nil {
				return nil, apron.Faultf(apron.Invalid, "The repository %s does not exist. A first push creates it.", r.shown)
			}
			r.embedded, r.address = dir, dir
			return r, nil
		}
	}
	return r, r.reach(ctx, u)
}

// reach refuses addresses that nobody may reach through this server, and ties git to those that
// were looked at.
func (r *origin) reach(ctx context.Context, u *url.URL) error {
	switch u.Scheme {
	case "file":
		if !r.g.cfg.AllowLocal || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return apron.Faultf(apron.Invalid, "The repository %s is on the server's own disk, which its configuration does not allow.", r.shown)
		}
		return nil
	case "http", "https", "ssh":
	default:
		return apron.Faultf(apron.Invalid, "The repository %s has no http, https, ssh or file URL.", r.shown)
	}
	if c := r.repo.Credential; c.Token != "" && !c.Hosts.Allow(u) {
		return apron.Faultf(apron.Invalid, "The repository %s cannot be read with the service's connection, which is for %s.", r.shown, c.Hosts)
	}
	host := u.Hostname()
	if host == "" || strings.HasPrefix(host, "-") || strings.HasPrefix(u.User.Username(), "-") || strings.ContainsAny(host, "\r\n\t ,'\"\\%") {
		return apron.Faultf(apron.Invalid, "The repository %s has no host that could be reached.", r.shown)
	}
	addrs, err := r.g.addresses(ctx, host)
	if err != nil {
		return err
	}
	if u.Scheme == "ssh" {
		return r.prepareSSH(host, u.Port(), addrs)
	}
	if u.Scheme == "http" && r.repo.Credential.Token != "" && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !a.Unmap().IsLoopback() }) {
		return apron.Faultf(apron.Invalid, "The repository %s has no https URL. The token of a connection is sent without TLS on this machine alone.", r.shown)
	}
	r.prepareHTTP(u, host, addrs)
	return nil
}

// addresses looks a host up. One address that is not allowed refuses them all.
func (g *Git) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := g.cfg.Lookup(ctx, host)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound, err == nil && len(addrs) == 0:
		return nil, apron.Faultf(apron.Invalid, "The repository's host %s does not exist.", shown(host))
	case err != nil:
		return nil, fmt.Errorf("look up host %s: %w: %w", shown(host), ErrUnreachable, err)
	}
	for _, a := range addrs {
		if a = a.Unmap(); !g.cfg.AllowLocal && isLocal(a) {
			return nil, apron.Faultf(apron.Invalid,
				"The repository's host %s has the address %s, which the server's configuration does not allow: it is one of this machine or its link.", shown(host), a)
		}
	}
	return addrs, nil
}

// isLocal tells the addresses that mean something else to this machine than to the one who named
// them: its own services, and those of its link, such as a cloud's metadata.
func isLocal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || a.IsMulticast() ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// lookup asks the system's resolver, unless host is an address.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// defaultUser goes with a token: GitHub, GitLab, Gitea and Bitbucket take any user name, this one, or
// just this one.
const defaultUser = "x-token-auth"

// prepareHTTP pins the host's addresses, so that a name that changes its mind leads nowhere else, and
// hands the token over in the environment, for this one host.
func (r *origin) prepareHTTP(u *url.URL, host string, addrs []netip.Addr) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if _, err := netip.ParseAddr(host); err != nil {
		list := make([]string, len(addrs))
		for i, a := range addrs {
			if list[i] = a.Unmap().String(); a.Unmap().Is6() {
				list[i] = "[" + list[i] + "]"
			}
		}
		r.settings = append(r.settings, setting{"http.curloptResolve", host + ":" + port + ":" + strings.Join(list, ",")})
	}
	if r.repo.Credential.Token == "" {
		return
	}
	user := r.repo.Credential.User
	if user == "" {
		user = defaultUser
	}
	r.env = append(r.env, "APRON_GIT_USER="+user, "APRON_GIT_TOKEN="+r.repo.Credential.Token)
	const tell = `!f() { [ "$1" != get ] || printf 'username=%s\npassword=%s\n' "$APRON_GIT_USER" "$APRON_GIT_TOKEN"; }; f`
	r.settings = append(r.settings, setting{"credential." + u.Scheme + "://" + u.Host + ".helper", tell})
}

// prepareSSH pins the address and the key. A host's own key is trusted when it is first seen.
func (r *origin) prepareSSH(host, port string, addrs []netip.Addr) error {
	alias := host
	if port != "" {
		alias += ":" + port
	}
	options := []string{
		"ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o", "HashKnownHosts=no",
		"-o", "UserKnownHostsFile=" + r.g.knownHosts(), "-o", "GlobalKnownHostsFile=/dev/null", "-o", "ConnectTimeout=20",
		"-o", "HostName=" + addrs[0].Unmap().String(), "-o", "HostKeyAlias=" + alias, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "ForwardAgent=no", "-o", "PermitLocalCommand=no", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4",
	}
	if key := r.repo.Credential.SSHKey; key != "" {
		f, err := os.CreateTemp(r.g.home(), "key-") // mode 0600
		if err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		r.keyFile = f.Name()
		_, err = f.WriteString(strings.TrimRight(strings.ReplaceAll(key, "\r\n", "\n"), "\n") + "\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("write key: %w", err)
		}
		options = append(options, "-i", r.keyFile)
	} else {
		options = append(options, "-i", "/dev/null")
	}
	for i, o := range options {
		options[i] = "'" + strings.ReplaceAll(o, "'", `'\''`) + "'"
	}
	r.env = append(r.env, "GIT_SSH_COMMAND="+strings.Join(options, " "))
	return nil
}

// close removes the key's file.
func (r *origin) close() {
	if r.keyFile != "" {
		_ = os.Remove(r.keyFile)
	}
}

// follow runs run, and once more with the repository's new address if it has moved. A credential
// stays with the host it was given for.
func (r *origin) follow(ctx context.Context, run func() error) error {
	err := run()
	var failed *gitError
	if !errors.As(err, &failed) || !saysRedirect.MatchString(failed.stderr) {
		return err
	}
	to, redirectErr := r.g.redirected(ctx, r.address)
	if redirectErr != nil && ctx.Err() == nil {
		return fmt.Errorf("follow redirect of %s: %w", r.shown, redirectErr)
	}
	if redirectErr != nil {
		return err
	}
	moved := r.repo
	if moved.URL = to; !sameOrigin(r.address, to) {
		moved.Credential = GitCredential{}
	}
	next, openErr := r.g.open(ctx, moved)
	if openErr != nil {
		return openErr
	}
	r.close()
	next.shown = r.shown
	*r = *next
	return run()
}

// redirected follows the redirects of a repository that has moved, looking at the addresses on the
// way as for any other, and returns where it is now. git itself must follow none: it would not look. Its
// error is a Fault, or has ErrUnreachable.
func (g *Git) redirected(ctx context.Context, address string) (string, error) {
	const suffix = "/info/refs?service=git-upload-pack"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(address, "/")+suffix, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("User-Agent", "git/apron")
	res, err := g.client().Do(req)
	if f := new(apron.Fault); errors.As(err, &f) {
		return "", f // an address that is not allowed
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer res.Body.Close()
	final, ok := strings.CutSuffix(res.Request.URL.String(), suffix)
	if !ok || res.Request.URL.User != nil {
		return "", apron.Faultf(apron.Invalid, "The repository %s does not exist, or needs a connection whose credential opens it: its server leads to another page.", shown(address))
	}
	return final, nil
}

// client makes requests to addresses that are allowed, and to no others however often it is redirected.
func (g *Git) client() *http.Client {
	dialer := &net.Dialer{}
	return &http.Client{CheckRedirect: stayAtOrigin, Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			addrs, err := g.addresses(ctx, host)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort(addrs[0].Unmap().String(), port))
		},
		DisableKeepAlives: true,
	}}
}

// stayAtOrigin takes the credential from a request that was redirected elsewhere: the standard library
// would let it go to another port, to a name below the host's, or without TLS.
func stayAtOrigin(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("too many redirects")
	}
	if !sameOrigin(via[0].URL.String(), req.URL.String()) {
		req.Header.Del("Authorization")
	}
	return nil
}
