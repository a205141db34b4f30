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
	Lines int    `short:"n" default:"100" help:"How many lines to print at most."`

	Application bool `short:"a" help:"Print what the instances write, not the events."`
	Follow      bool `short:"f" help:"Go on with what comes. Implies --application."`
}

// Run prints the newest events of the service, or lines of its instances.
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
	id := apron.ServiceID(aws.ToString(svc.ServiceId))
	if !l.Application && !l.Follow {
		return printEvents(os.Stdout, local, id, l.Lines)
	}
	return local.ApplicationLog(ctx, id, l.Lines, l.Follow, func(line server.ApplicationLine) error {
		stream := "out"
		if line.Stderr {
			stream = "err"
		}
		_, err := fmt.Printf("%s %s %s %s\n", line.At.Format("2006-01-02T15:04:05.000Z"), line.Instance[:8], stream, line.Text)
		return err
	})
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
