package apron

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// ConnectionStatus is where a connection stands (API shape ConnectionStatus).
type ConnectionStatus string

// The connection statuses.
const (
	ConnectionPendingHandshake ConnectionStatus = "PENDING_HANDSHAKE"
	ConnectionAvailable        ConnectionStatus = "AVAILABLE"
	ConnectionError            ConnectionStatus = "ERROR"
	ConnectionDeleted          ConnectionStatus = "DELETED"
)

// Connection gives access to a source code provider. It is made PENDING_HANDSHAKE; completing the
// handshake happens outside the API.
type Connection struct {
	ARN       ARN    // full
	Provider  string // API enum ProviderType: GITHUB or BITBUCKET
	Status    ConnectionStatus
	CreatedAt time.Time
	DeletedAt time.Time // zero unless Status is ConnectionDeleted
	// Hosts are those its token is for, as ParseTokenHost returns them. Empty: the provider's own.
	Hosts []string
}

// TokenHosts returns where the connection's token may be sent. local says that the server's services are
// below localhost: repositories on this machine's loopback then count as the provider's.
func (c Connection) TokenHosts(local bool) TokenHosts {
	switch {
	case len(c.Hosts) > 0:
		return TokenHosts{Names: c.Hosts}
	case c.Provider == "BITBUCKET":
		return TokenHosts{Names: []string{"bitbucket.org"}, Loopback: local}
	default:
		return TokenHosts{Names: []string{"github.com"}, Loopback: local}
	}
}

// TokenHosts are the hosts a token may be sent to; the zero value has none. A key for SSH needs no such
// bounds: what a server is shown of it opens nothing elsewhere.
type TokenHosts struct {
	Names    []string // host, for the port its protocol has, or host:port
	Loopback bool     // loopback addresses and localhost too, with any port
}

// Allow reports whether a service may use the token's connection with a repository's URL. It may with
// those of protocols that send no token.
func (h TokenHosts) Allow(u *url.URL) bool {
	usual, ok := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	if !ok {
		return true
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = usual
	}
	if h.Loopback && isLoopback(host) {
		return true
	}
	for _, name := range h.Names {
		at := &url.URL{Host: name}
		wanted := at.Port()
		if wanted == "" {
			wanted = usual
		}
		if strings.EqualFold(at.Hostname(), host) && wanted == port {
			return true
		}
	}
	return false
}

// String is the hosts in words.
func (h TokenHosts) String() string {
	names := strings.Join(h.Names, ", ")
	switch {
	case h.Loopback && names != "":
		return names + " and this machine"
	case h.Loopback:
		return "this machine"
	case names == "":
		return "no host"
	}
	return names
}

// isLoopback knows this machine by the names that mean it everywhere. Names below localhost do not count:
// a server may give them to services.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// ParseTokenHost reads a host, with or without a port, that a token is to be sent to. Faults: Invalid.
func ParseTokenHost(s string) (string, error) {
	bad := Faultf(Invalid, "%q is no host. It is written like git.example.com or git.example.com:8443.", s)
	u, err := url.Parse("https://" + s)
	if err != nil || u.Host != s || u.Hostname() == "" || strings.HasSuffix(s, ":") || strings.ContainsAny(s, "*%, \t\r\n") {
		return "", bad
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", bad
		}
		host = "[" + host + "]"
	}
	if u.Port() == "" {
		return host, nil
	}
	return host + ":" + u.Port(), nil
}
