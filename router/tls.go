package router

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
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

// tlsConfig returns how the router speaks TLS: 1.2 or later, with the standard library's choice of
// suites and curves, which has only such as are considered strong.
func tlsConfig(certs *certificates) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: certs.pick, NextProtos: []string{"h2", "http/1.1"},
		CipherSuites: []uint16{ // of TLS 1.2: with forward secrecy and authenticated encryption
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
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
	if _, err := netip.ParseAddr(hi.ServerName); err == nil || hi.ServerName == "" {
		return t.first, nil // an address is no name (RFC 6066 section 3), but some clients send it
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
