package router

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"sync/atomic"
)

// certificates picks the certificate for a server name. It is safe for concurrent use.
type certificates struct {
	current atomic.Pointer[certificateTable]
}

// certificateTable is immutable.
type certificateTable struct {
	byName map[string]*tls.Certificate // lower case; a wildcard with its "*."
	first  *tls.Certificate            // for clients that name no server; nil: there is none at all
}

func newCertificates() *certificates {
	c := &certificates{}
	c.current.Store(&certificateTable{})
	return c
}

// install replaces all certificates, or none when one cannot be used.
func (c *certificates) install(list []Certificate) error {
	t := &certificateTable{byName: map[string]*tls.Certificate{}}
	for i, in := range list {
		cert, err := tls.X509KeyPair(in.CertPEM, in.KeyPEM)
		if err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
		if cert.Leaf == nil {
			if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
				return fmt.Errorf("certificate %d: %w", i, err)
			}
		}
		if t.first == nil {
			t.first = &cert
		}
		for _, name := range cert.Leaf.DNSNames {
			name = strings.ToLower(name)
			if t.byName[name] == nil { // the earlier one wins
				t.byName[name] = &cert
			}
		}
	}
	c.current.Store(t)
	return nil
}

// pick returns the certificate for a TLS client: of the exact name, else of the wildcard above it.
// Without one the handshake ends with unrecognized_name (RFC 6066 section 3).
func (c *certificates) pick(hi *tls.ClientHelloInfo) (*tls.Certificate, error) {
	t := c.current.Load()
	if hi.ServerName == "" {
		return t.first, nil
	}
	var h hostName
	if !h.parse(hi.ServerName) {
		return nil, nil
	}
	name := string(h.bytes())
	if cert := t.byName[name]; cert != nil {
		return cert, nil
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		return t.byName["*."+parent], nil
	}
	return nil, nil
}
