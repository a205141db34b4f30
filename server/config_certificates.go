package server

import (
	"crypto/tls"
	"fmt"
	"os"

	"apron/router"
)

// CertificateFiles is a certificate of the operator's own. It is used for the host names in it, in
// place of one of the local authority.
type CertificateFiles struct {
	Cert string `koanf:"cert"` // file with the chain, leaf first, PEM
	Key  string `koanf:"key"`  // file with the private key, PEM
}

// loadCertificates reads the operator's certificates.
func loadCertificates(list []CertificateFiles) ([]router.Certificate, error) {
	out := make([]router.Certificate, 0, len(list))
	for _, files := range list {
		chain, err := os.ReadFile(files.Cert)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		key, err := os.ReadFile(files.Key)
		if err != nil {
			return nil, fmt.Errorf("certificates: %w", err)
		}
		if _, err := tls.X509KeyPair(chain, key); err != nil {
			return nil, fmt.Errorf("certificates: %s with %s: %w", files.Cert, files.Key, err)
		}
		out = append(out, router.Certificate{CertPEM: chain, KeyPEM: key})
	}
	return out, nil
}
