package main

import (
	"fmt"

	"apron/server"
)

type pushCommand struct {
	File       string `arg:"" type:"existingfile" help:"A static linux/amd64 binary, a docker archive, or an OCI layout (tar)."`
	Repository string `arg:"" help:"REPOSITORY[:TAG] in the embedded registry."`
	Port       uint16 `default:"8080" help:"Port a binary's image declares."`
}

// Run pushes the image and prints the name CreateService knows it by.
func (p *pushCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	image, digest, err := local.Push(ctx, p.File, p.Repository, p.Port)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n%s\n", image, digest)
	return nil
}
