package main

import (
	"context"
	"encoding/json"
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
	Access      bool `help:"Print requests in the combined log format instead; the service needs the tag apron:access-log=on."`
	JSON        bool `name:"json" help:"Like --access, as JSON, which has more."`
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
	switch {
	case l.Access || l.JSON:
		return printAccess(os.Stdout, local, id, l.Lines, l.JSON)
	case l.Application || l.Follow:
		return printApplication(ctx, os.Stdout, local, id, l)
	default:
		return printEvents(os.Stdout, local, id, l.Lines)
	}
}

func printApplication(ctx context.Context, w io.Writer, local server.Local, id apron.ServiceID, l *logsCommand) error {
	return local.ApplicationLog(ctx, id, l.Lines, l.Follow, func(line server.ApplicationLine) error {
		stream := "out"
		if line.Stderr {
			stream = "err"
		}
		_, err := fmt.Fprintf(w, "%s %s %s %s\n", line.At.Format("2006-01-02T15:04:05.000Z"), line.Instance[:8], stream, line.Text)
		return err
	})
}

func printAccess(w io.Writer, local server.Local, id apron.ServiceID, limit int, asJSON bool) error {
	lines, err := local.Access(id, limit)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	for _, line := range lines {
		if asJSON {
			err = enc.Encode(line)
		} else {
			_, err = fmt.Fprintln(w, line.Combined())
		}
		if err != nil {
			return fmt.Errorf("print requests: %w", err)
		}
	}
	return nil
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
