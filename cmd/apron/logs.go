package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"apron"
	"apron/server"
)

type logsCommand struct {
	Name  string `arg:"" help:"Name of the service."`
	Lines int    `short:"n" default:"100" help:"How many events to print at most."`
}

// Run prints the newest events of the service.
func (l *logsCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	svc, err := findService(ctx, newClient(local), l.Name)
	if err != nil {
		return err
	}
	if svc == nil {
		return fmt.Errorf("there is no service %s", l.Name)
	}
	return printEvents(os.Stdout, local, apron.ServiceID(aws.ToString(svc.ServiceId)), l.Lines)
}

func printEvents(w io.Writer, local server.Local, id apron.ServiceID, limit int) error {
	events, err := local.Events(id, limit)
	if err != nil {
		return err
	}
	for _, e := range events {
		if _, err := fmt.Fprintf(w, "%s %s\n", e.At.Format(time.RFC3339), e.Message); err != nil {
			return fmt.Errorf("print events: %w", err)
		}
	}
	return nil
}
