package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"apron/server"
)

type runtimesCommand struct {
	List   listRuntimesCommand  `cmd:"" help:"List the managed runtimes and what they would be built with."`
	Build  buildRuntimeCommand  `cmd:"" help:"Make the base image of a runtime now instead of at the first build."`
	Import importRuntimeCommand `cmd:"" help:"Use an image of an archive (docker save, OCI) as the base image of a runtime."`
}

type listRuntimesCommand struct{}

// Run prints a table.
func (listRuntimesCommand) Run(s *settings) (err error) {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	b, err := server.OpenRuntimes(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	all, err := b.Offers(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RUNTIME\tVERSION\tREADY\tFROM\tNOTE")
	for _, o := range all {
		ready, version := "no", o.Version
		if o.Ready {
			ready = "yes"
		}
		if version == "" {
			version = "-"
		}
		note := o.Note
		if o.Ours && note == "" {
			note = "an extension"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", o.Runtime, version, ready, o.Origin, note)
	}
	return w.Flush()
}

type buildRuntimeCommand struct {
	Runtime string `arg:"" help:"Identifier, such as nodejs22."`
	Version string `arg:"" optional:"" help:"Version, as in runtime-version. Default: the newest."`
}

// Run makes the images and prints which they are.
func (c *buildRuntimeCommand) Run(s *settings) (err error) {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	b, err := server.OpenRuntimes(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	o, err := b.Prepare(ctx, c.Runtime, c.Version, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return err
	}
	if o.Note != "" {
		fmt.Fprintln(os.Stderr, o.Note)
	}
	_, err = fmt.Printf("%s %s, from %s\n", o.Runtime, o.Version, o.Origin)
	return err
}

type importRuntimeCommand struct {
	Runtime string `arg:"" help:"Identifier, such as nodejs22."`
	Version string `arg:"" help:"Full version of the language in the image."`
	Archive string `arg:"" type:"existingfile" help:"Archive with the image."`
}

// Run keeps the image.
func (c *importRuntimeCommand) Run(s *settings) (err error) {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	f, err := os.Open(c.Archive)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := server.OpenRuntimes(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return b.Import(ctx, c.Runtime, c.Version, f, c.Archive)
}
