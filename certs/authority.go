// Package certs makes the certificates the router presents: a certificate authority of this
// installation's own, for domains no public one would certify, and leaves signed by it.
//
// The server hands them to the router over its stream; a user who wants browsers to trust them
// imports [Authority.CAPEM].
package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 90 * 24 * time.Hour
	renewBefore  = 30 * 24 * time.Hour // a leaf with less left is made anew
	backdate     = time.Hour           // for clients whose clock is slow
)

// Config is what an Authority needs.
type Config struct {
	// Dir holds the authority (ca.pem, ca.key) and its leaves; it is made when absent, mode 0700. One
	// process at a time may use it.
	Dir string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Authority is a certificate authority of this installation. It is safe for concurrent use.
type Authority struct {
	cfg  Config
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu sync.Mutex // serializes making leaves, so that each name has one
}

// Open returns the authority kept in cfg.Dir, making it when there is none or it has expired:
// ECDSA P-256, valid for ten years, its key mode 0600.
func Open(cfg Config) (*Authority, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "leaves"), 0o700); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	a := &Authority{cfg: cfg}
	err := a.load()
	if errors.Is(err, fs.ErrNotExist) || err == nil && !a.cert.NotAfter.After(cfg.Now()) {
		err = a.create()
	}
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	return a, nil
}

// CAPEM returns the authority's own certificate, for clients to trust, PEM.
func (a *Authority) CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *Authority) certPath() string { return filepath.Join(a.cfg.Dir, "ca.pem") }
func (a *Authority) keyPath() string  { return filepath.Join(a.cfg.Dir, "ca.key") }

// load returns an error that is fs.ErrNotExist when one of the files is missing.
func (a *Authority) load() error {
	certPEM, err := os.ReadFile(a.certPath())
	if err != nil {
		return err
	}
	keyPEM, err := os.ReadFile(a.keyPath())
	if err != nil {
		return err
	}
	a.cert, a.key, err = parsePair(certPEM, keyPEM)
	return err
}

func (a *Authority) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := a.cfg.Now()
	serial, err := newSerial()
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		// The serial keeps the authorities of two machines apart in a trust store.
		Subject:               pkix.Name{CommonName: "Apron local CA " + serial.Text(16)[:8], Organization: []string{"Apron"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves, no authorities
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.key = key
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	// The key first: a certificate without its key would be found and trusted, and sign nothing.
	if err := writeFile(a.keyPath(), keyPEM, 0o600); err != nil {
		return err
	}
	return writeFile(a.certPath(), a.CAPEM(), 0o644)
}

// newSerial returns a random positive serial number of 127 bits (RFC 5280 section 4.1.2.2).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, err
	}
	return n.SetBit(n, 126, 1), nil
}

// Wildcard returns a certificate and its key, PEM, for *.name and name. It is kept on disk and made
// anew when less than 30 of its 90 days are left, so a caller that asks once a day always has a
// valid one. The error is non-nil when name is not a domain name or the disk cannot be used.
func (a *Authority) Wildcard(ctx context.Context, name string) (certPEM, keyPEM []byte, err error) {
	if !validName(name) {
		return nil, nil, fmt.Errorf("make certificate: %q is not a lower-case domain name", name)
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	path := filepath.Join(a.cfg.Dir, "leaves", name+".pem")
	if certPEM, keyPEM, ok := a.cached(path, name); ok {
		return certPEM, keyPEM, nil
	}
	certPEM, keyPEM, err = a.issue(name)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate for *.%s: %w", name, err)
	}
	// One file, so that the two always belong together.
	both := append(append([]byte{}, certPEM...), keyPEM...)
	if err := writeFile(path, both, 0o600); err != nil {
		return nil, nil, fmt.Errorf("keep certificate for *.%s: %w", name, err)
	}
	return certPEM, keyPEM, nil
}
