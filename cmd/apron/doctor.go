package main

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"

	"apron/server"
)

type doctorCommand struct{}

// Run prints what was looked at and what to do, and fails when Apron cannot run instances here.
func (doctorCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	ill := false
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, c := range server.Doctor(ctx, cfg) {
		switch {
		case c.Err == nil:
			fmt.Fprintf(w, "ok\t%s\t%s\n", c.Name, c.Found)
			continue
		case c.Required:
			ill = true
			fmt.Fprintf(w, "FAIL\t%s\t%v\n", c.Name, c.Err)
		default:
			fmt.Fprintf(w, "warn\t%s\t%v\n", c.Name, c.Err)
		}
		fmt.Fprintf(w, "\t\t-> %s\n", c.Advice)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if ill {
		return errors.New("this machine cannot run everything Apron does; see FAIL above")
	}
	return nil
}
