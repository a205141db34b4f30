package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"apron/server"
)

type revisionsCommand struct {
	Name string `arg:"" help:"Name of the service."`
}

// Run prints a line per revision of the service, newest first.
func (r *revisionsCommand) Run(s *settings) error {
	return s.service(r.Name, func(ctx context.Context, local server.Local, arn string) error {
		list, err := local.Revisions(ctx, arn)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "REVISION\tOUTCOME\tCREATED\tSOURCE\tDIGEST\tREASON")
		for _, rev := range list {
			number, outcome := fmt.Sprint(rev.Number), rev.Outcome
			if rev.CopyOf != 0 {
				number += fmt.Sprintf(" (= %d)", rev.CopyOf)
			}
			if outcome == "" {
				outcome = "IN_PROGRESS"
			}
			created := ""
			if rev.CreatedAt != nil {
				created = moment(rev.CreatedAt.Time)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", number, outcome, created, rev.Source, shortDigest(rev.Digest), firstLine(rev.Reason))
		}
		return w.Flush()
	})
}

type rollbackCommand struct {
	Name     string `arg:"" help:"Name of the service."`
	Revision int    `arg:"" optional:"" help:"Number of the revision to go back to. Default: the one before the one that serves."`
}

// Run deploys an earlier revision again and waits for the end.
func (r *rollbackCommand) Run(s *settings) error {
	return s.service(r.Name, func(ctx context.Context, local server.Local, arn string) error {
		if r.Revision < 0 {
			return fmt.Errorf("revision %d: numbers begin with 1", r.Revision)
		}
		start := time.Now()
		operation, number, err := local.Rollback(ctx, arn, r.Revision)
		if err != nil {
			return err
		}
		if err := awaitOperation(ctx, local, arn, operation); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "Service %s is back at revision %d (%s).\n", r.Name, number, time.Since(start).Round(time.Millisecond))
		return nil
	})
}

// service runs do with the ARN of the service with the name.
func (s *settings) service(name string, do func(ctx context.Context, local server.Local, arn string) error) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	svc, err := findService(ctx, newClient(local), name)
	if err != nil {
		return err
	}
	if svc == nil {
		return fmt.Errorf("there is no service %s", name)
	}
	return do(ctx, local, aws.ToString(svc.ServiceArn))
}

// awaitOperation returns once the service's operation has ended; its reason is the error if it failed.
func awaitOperation(ctx context.Context, local server.Local, arn, id string) error {
	if _, err := awaitService(ctx, newClient(local), aws.String(arn)); err != nil {
		return err
	}
	list, err := local.Operations(ctx, arn, 0)
	if err != nil {
		return err
	}
	for _, op := range list {
		switch {
		case aws.ToString(op.Id) != id:
		case aws.ToString(op.Status) == "SUCCEEDED":
			return nil
		default:
			return fmt.Errorf("the operation is %s: %s", aws.ToString(op.Status), op.Reason)
		}
	}
	return errors.New("the operation is not in the service's list")
}

// shortDigest returns as much of a digest as tells images apart.
func shortDigest(digest string) string {
	const enough = len("sha256:") + 12
	return digest[:min(len(digest), enough)]
}

// firstLine returns what a reason says before the log lines that follow.
func firstLine(reason string) string {
	line, _, _ := strings.Cut(reason, "\n")
	return line
}
