package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"apron/server"
)

type operationsCommand struct {
	List listOperationsCommand `cmd:"" default:"withargs" help:"List the operations of a service, with the reasons of those that failed (default)."`
}

type listOperationsCommand struct {
	Name  string `arg:"" help:"Name of the service."`
	Lines int    `short:"n" default:"20" help:"How many operations to list at most."`
}

// Run prints the operations, newest first, each that failed with its reason below it.
func (l *listOperationsCommand) Run(s *settings) error {
	return s.service(l.Name, func(ctx context.Context, local server.Local, arn string) error {
		list, err := local.Operations(ctx, arn, max(l.Lines, 0))
		if err != nil {
			return err
		}
		var table bytes.Buffer
		w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "OPERATION\tTYPE\tSTATUS\tSTARTED\tTOOK")
		for _, op := range list {
			started, took := "", ""
			if op.StartedAt != nil {
				started = moment(op.StartedAt.Time)
			}
			if op.StartedAt != nil && op.EndedAt != nil {
				took = op.EndedAt.Sub(op.StartedAt.Time).Round(time.Millisecond).String()
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", aws.ToString(op.Id), aws.ToString(op.Type), aws.ToString(op.Status), started, took)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		lines := strings.SplitAfter(table.String(), "\n")
		fmt.Print(lines[0])
		for n, op := range list {
			fmt.Print(lines[n+1])
			for line := range strings.Lines(op.Reason) {
				fmt.Fprintln(os.Stdout, "    "+strings.TrimRight(line, "\n"))
			}
		}
		return nil
	})
}
