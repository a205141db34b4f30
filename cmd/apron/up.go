package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron"
	"apron/server"
	"apron/source"
)

// deploy packs the directory into the embedded Git host, has it built and served, and prints the URL.
func (u *upCommand) deploy(ctx context.Context, local server.Local) error {
	start := time.Now()
	if _, err := os.Stat(filepath.Join(u.Dir, source.ConfigurationName)); err != nil {
		return fmt.Errorf("there is no %s in %s", source.ConfigurationName, u.Dir)
	}
	name, err := u.name()
	if err != nil {
		return err
	}
	client := newClient(local)
	before, err := findService(ctx, client, name)
	if err != nil {
		return err
	}
	up, err := local.Upload(ctx, u.Dir, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "Packed %d files of %s.\n", up.Files, u.Dir)
	arn, err := begin(ctx, client, name, before, up)
	if err != nil {
		return err
	}
	svc, serves, err := followService(ctx, client, local, arn, os.Stderr)
	if err != nil {
		return err
	}
	if !serves {
		return errors.New("the deployment failed")
	}
	fmt.Fprintf(os.Stderr, "Service %s is running (%s).\n", name, time.Since(start).Round(time.Millisecond))
	fmt.Println(local.URL(aws.ToString(svc.ServiceUrl)))
	return nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// name returns the service's name: one that App Runner takes, 4 to 40 letters, digits, hyphens and
// underscores.
func (u *upCommand) name() (string, error) {
	if u.Name != "" {
		return u.Name, nil
	}
	dir, err := filepath.Abs(u.Dir)
	if err != nil {
		return "", fmt.Errorf("find directory: %w", err)
	}
	name := strings.Trim(notInName.ReplaceAllString(filepath.Base(dir), "-"), "-_")
	if len(name) < 4 {
		name = strings.TrimPrefix(name+"-web", "-")
	}
	return name[:min(len(name), 40)], nil
}

// begin creates the service, or has the one there was take the new version: the push has begun that
// unless nothing has changed.
func begin(ctx context.Context, client *apprunner.Client, name string, before *types.ServiceSummary, up server.Upload) (*string, error) {
	source := &types.SourceConfiguration{
		CodeRepository: &types.CodeRepository{
			RepositoryUrl: aws.String(up.URL), SourceDirectory: aws.String(up.SourceDirectory),
			SourceCodeVersion: &types.SourceCodeVersion{Type: types.SourceCodeVersionTypeBranch, Value: aws.String(server.UploadBranch)},
			CodeConfiguration: &types.CodeConfiguration{ConfigurationSource: types.ConfigurationSourceRepository},
		},
	}
	if before == nil {
		out, err := client.CreateService(ctx, &apprunner.CreateServiceInput{ServiceName: aws.String(name), SourceConfiguration: source})
		if err != nil {
			return nil, fmt.Errorf("create service: %w", err)
		}
		return out.Service.ServiceArn, nil
	}
	now, err := client.DescribeService(ctx, &apprunner.DescribeServiceInput{ServiceArn: before.ServiceArn})
	if err != nil {
		return nil, fmt.Errorf("describe service: %w", err)
	}
	code := now.Service.SourceConfiguration.CodeRepository
	switch {
	case code == nil:
		return nil, fmt.Errorf("service %s is made from an image: choose another name with --name", name)
	case now.Service.Status == types.ServiceStatusOperationInProgress:
		return before.ServiceArn, nil
	case now.Service.Status == types.ServiceStatusCreateFailed, aws.ToString(code.RepositoryUrl) != up.URL,
		aws.ToString(code.SourceDirectory) != up.SourceDirectory, aws.ToString(code.SourceCodeVersion.Value) != server.UploadBranch:
		_, err = client.UpdateService(ctx, &apprunner.UpdateServiceInput{ServiceArn: before.ServiceArn, SourceConfiguration: source})
	case len(up.Said) == 0:
		fmt.Fprintln(os.Stderr, "Nothing has changed.")
	}
	if err != nil {
		return nil, fmt.Errorf("update service: %w", err)
	}
	return before.ServiceArn, nil
}

// watch follows the newest operation of a service.
type watch struct {
	client  *apprunner.Client
	local   server.Local
	arn     *string
	id      apron.ServiceID
	newest  types.OperationSummary // zero Id: there is none
	printed int                    // lines of its log so far
}

// routed is the event that says that requests go to the new version.
const routed = "[AppRunner] Successfully routed incoming traffic to application."

// followService prints what happens to a service, the output of its build included, until the newest
// operation has sent requests to the new version or has ended. What then ends is the old version, in
// its own time. It reports whether the new version serves.
func followService(ctx context.Context, client *apprunner.Client, local server.Local, arn *string, to io.Writer) (*types.Service, bool, error) {
	parsed, err := apron.ParseARN(aws.ToString(arn))
	if err != nil {
		return nil, false, err
	}
	w := &watch{client: client, local: local, arn: arn, id: apron.ServiceID(parsed.ID)}
	running, err := w.refresh(ctx)
	if err != nil {
		return nil, false, err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		serves, err := w.look(running, to)
		if err != nil {
			return nil, false, err
		}
		out, err := client.DescribeService(ctx, &apprunner.DescribeServiceInput{ServiceArn: arn})
		if err != nil {
			return nil, false, fmt.Errorf("describe service: %w", err)
		}
		if serves {
			return out.Service, true, nil
		}
		if out.Service.Status != types.ServiceStatusOperationInProgress {
			if _, err := w.look(running, to); err != nil { // what was said since
				return nil, false, err
			}
			_, err := w.refresh(ctx)
			return out.Service, w.newest.Status == types.OperationStatusSucceeded, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// refresh reads the newest operation and reports whether it is in progress.
func (w *watch) refresh(ctx context.Context) (running bool, err error) {
	out, err := w.client.ListOperations(ctx, &apprunner.ListOperationsInput{ServiceArn: w.arn, MaxResults: aws.Int32(1)})
	if err != nil {
		return false, fmt.Errorf("list operations: %w", err)
	}
	if len(out.OperationSummaryList) > 0 {
		w.newest = out.OperationSummaryList[0]
	}
	return w.newest.Id != nil && w.newest.EndedAt == nil, nil
}

// look prints what the operation has said since the last look and reports whether its version serves.
func (w *watch) look(running bool, to io.Writer) (serves bool, err error) {
	if !running {
		return false, nil
	}
	lines, err := w.local.OperationLog(w.id, apron.OperationID(aws.ToString(w.newest.Id)), 0)
	if err != nil {
		return false, err
	}
	for _, e := range lines[min(w.printed, len(lines)):] {
		fmt.Fprintln(to, e.Message)
	}
	w.printed = len(lines)
	events, err := w.local.Events(w.id, 10)
	for _, e := range events {
		// Of this operation: events have milliseconds, and nothing is routed in its first.
		serves = serves || e.Message == routed && e.At.After(aws.ToTime(w.newest.StartedAt))
	}
	return serves, err
}
