package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron/server"
)

type operationsCommand struct {
	List   listOperationsCommand  `cmd:"" default:"withargs" help:"List the operations of a service, with the reasons of those that failed (default)."`
	Cancel cancelOperationCommand `cmd:"" help:"End an operation in progress by undoing what it did."`
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

type cancelOperationCommand struct {
	What string `arg:"" name:"name|operation-id" help:"Name of the service, or id of the operation."`
}

// Run cancels the operation, waits for its end, and says what has become of it.
func (c *cancelOperationCommand) Run(s *settings) error {
	if operationID.MatchString(c.What) {
		local, err := s.local()
		if err != nil {
			return err
		}
		ctx, stop := server.Interrupted()
		defer stop()
		return cancelOperation(ctx, local, "", c.What)
	}
	return s.service(c.What, func(ctx context.Context, local server.Local, arn string) error {
		return cancelOperation(ctx, local, arn, "")
	})
}

// operationID matches what cannot be meant as the name of a service.
var operationID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func cancelOperation(ctx context.Context, local server.Local, arn, id string) error {
	canceled, err := local.Cancel(ctx, arn, id)
	if err != nil {
		return err
	}
	svc, err := awaitService(ctx, newClient(local), aws.String(canceled.ServiceARN))
	if err != nil {
		return err
	}
	list, err := local.Operations(ctx, canceled.ServiceARN, 0)
	if err != nil {
		return err
	}
	status := "gone"
	for _, op := range list {
		if aws.ToString(op.Id) == canceled.OperationID {
			status = aws.ToString(op.Status)
		}
	}
	fmt.Fprintf(os.Stderr, "Operation %s (%s) is %s. Service %s is %s.\n",
		canceled.OperationID, canceled.Type, status, aws.ToString(svc.ServiceName), svc.Status)
	if canceled.Type == "DELETE_SERVICE" && svc.Status == types.ServiceStatusDeleteFailed {
		fmt.Fprintln(os.Stderr, "A deletion cannot be undone: delete the service again.")
	}
	return nil
}
