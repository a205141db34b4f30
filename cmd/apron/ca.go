package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

type caCommand struct{}

// Run prints the certificate, PEM. The authority signs for the default domains of services.
func (caCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	name := filepath.Join(cfg.Data, "certs", "ca.pem")
	pem, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no server has been started with the data directory %s", cfg.Data)
	}
	if err != nil {
		return fmt.Errorf("read the authority's certificate: %w", err)
	}
	_, err = os.Stdout.Write(pem)
	return err
}
