package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"apron/server"
)

type statusCommand struct{}

// Run prints how the server on this machine is, and fails when it does not run.
func (statusCommand) Run(s *settings) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	status, err := server.ReadStatus(ctx, cfg)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "data\t%s\n", status.Data)
	for _, p := range status.Processes {
		if p.PID == 0 {
			fmt.Fprintf(w, "%s\tdoes not run\n", p.Role)
		} else {
			fmt.Fprintf(w, "%s\tpid %d\n", p.Role, p.PID)
		}
	}
	if r := status.Server; r != nil {
		fmt.Fprintf(w, "api\thttp://%s\n", r.Listen)
		if !r.Ready {
			fmt.Fprintln(w, "state\tstarting")
		} else {
			printServer(w, r)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if status.Server == nil {
		return errors.New("the server does not run")
	}
	return nil
}

func printServer(w *tabwriter.Writer, r *server.Live) {
	fmt.Fprintf(w, "services at\thttp://%s https://%s\n", r.HTTP, r.HTTPS)
	fmt.Fprintf(w, "tier\t%s (%s)\n", r.Engine.Tier, r.Engine.Driver)
	for _, reason := range r.Engine.Reasons {
		fmt.Fprintf(w, "\t-> %s\n", reason)
	}
	if r.Engine.Storage != "" {
		fmt.Fprintf(w, "disk limit\tkept %s\n", r.Engine.Storage)
	}
	fmt.Fprintf(w, "services\t%s\n", counts(r.Services))
	fmt.Fprintf(w, "instances\t%s\n", counts(r.Instances))
}

// counts prints how many there are of each kind, and of all.
func counts[K ~string](by map[K]int) string {
	total, parts := 0, []string{}
	for _, k := range slices.Sorted(maps.Keys(by)) {
		total += by[k]
		parts = append(parts, fmt.Sprintf("%d %s", by[k], k))
	}
	if total == 0 {
		return "none"
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}
