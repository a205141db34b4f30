package containerd

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"apron"
)

// locateByName is the Locate of a Config without one.
func locateByName(_ context.Context, reference string) (RegistryHost, error) {
	name, _, _ := strings.Cut(reference, "@")
	host, repository, ok := strings.Cut(name, "/")
	if !ok || repository == "" {
		return RegistryHost{}, apron.Faultf(apron.Invalid, "The image reference %s names no registry.", reference)
	}
	return RegistryHost{URL: host, PlainHTTP: loopback(host), Repository: repository}, nil
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}
