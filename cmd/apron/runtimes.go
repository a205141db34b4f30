package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
func (listRuntimesCommand) Run(s *settings) error {
	return withRuntimes(s, func(ctx context.Context, b *server.Runtimes) error {
		all, err := b.Offers(ctx)
		if err != nil {
			return err
		}
		return printOffers(os.Stdout, all)
	})
}

// withRuntimes runs do with the builder of the server on this machine.
func withRuntimes(s *settings, do func(context.Context, *server.Runtimes) error) (err error) {
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
	return do(ctx, b)
}

func printOffers(to io.Writer, all []server.RuntimeOffer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
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
func (c *buildRuntimeCommand) Run(s *settings) error {
	return withRuntimes(s, func(ctx context.Context, b *server.Runtimes) error {
		o, err := b.Prepare(ctx, c.Runtime, c.Version, func(line string) { fmt.Fprintln(os.Stderr, line) })
		if err != nil {
			return err
		}
		if o.Note != "" {
			fmt.Fprintln(os.Stderr, o.Note)
		}
		_, err = fmt.Printf("%s %s, from %s\n", o.Runtime, o.Version, o.Origin)
		return err
	})
}

type importRuntimeCommand struct {
	Runtime string `arg:"" help:"Identifier, such as nodejs22."`
	Version string `arg:"" help:"Full version of the language in the image."`
	Archive string `arg:"" type:"existingfile" help:"Archive with the image."`
}

// Run keeps the image.
func (c *importRuntimeCommand) Run(s *settings) error {
	f, err := os.Open(c.Archive)
	if err != nil {
		return err
	}
	defer f.Close()
	return withRuntimes(s, func(ctx context.Context, b *server.Runtimes) error {
		return b.Import(ctx, c.Runtime, c.Version, f, c.Archive)
	})
}
