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
		return noConfiguration(u.Dir)
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
	w := &watch{client: client, local: local, name: name, to: os.Stderr}
	if before != nil {
		w.arn = before.ServiceArn
		if w.last, _, err = w.revisions(ctx); err != nil {
			return err
		}
	}
	up, err := local.Upload(ctx, u.Dir, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "Packed %d files of %s.\n", up.Files, u.Dir)
	w.commit = up.Commit
	if w.arn, err = begin(ctx, client, name, before, up); err != nil {
		return err
	}
	svc, err := w.bring(ctx)
	if err != nil {
		return err
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

// begin creates the service, or has the one there was built from what was uploaded. If it was before,
// the push has begun its deployment already, if anybody has.
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
	}
	if err != nil {
		return nil, fmt.Errorf("update service: %w", err)
	}
	return before.ServiceArn, nil
}

// watch follows a service until it serves what was uploaded.
type watch struct {
	client *apprunner.Client
	local  server.Local
	to     io.Writer // of what happens
	name   string
	arn    *string
	commit string // that was uploaded
	last   int    // number of the newest revision before that; 0: there was none
}

// routed is the event that says that requests go to the new version.
const routed = "[AppRunner] Successfully routed incoming traffic to application."

// bring prints what happens to the service, the output of its builds included, until requests go to
// what was uploaded; what then ends is the old version, in its own time. An operation that was in
// progress before deploys something older, and a push may deploy nothing: with automatic deployments
// off, when the same has failed before, or when only files beside the directory have changed, which its
// build may use. Then it starts the deployment itself.
func (w *watch) bring(ctx context.Context) (*types.Service, error) {
	for quiet := true; ; quiet = false {
		svc, followed, err := w.follow(ctx)
		if err != nil {
			return nil, err
		}
		newest, serves, err := w.revisions(ctx)
		switch {
		case err != nil:
			return nil, err
		case svc.Status == types.ServiceStatusOperationInProgress && !serves:
			continue // the next one
		case svc.Status != types.ServiceStatusRunning && svc.Status != types.ServiceStatusOperationInProgress && svc.Status != types.ServiceStatusCreateFailed:
			return nil, fmt.Errorf("service %s is %s, and what was packed is not deployed", w.name, svc.Status)
		case serves:
			if quiet && !followed {
				fmt.Fprintln(w.to, "Nothing has changed.")
			}
			return svc, nil
		case newest > w.last:
			return nil, errors.New("the deployment failed")
		}
		_, err = w.client.StartDeployment(ctx, &apprunner.StartDeploymentInput{ServiceArn: w.arn})
		if err != nil {
			now, lookErr := w.client.DescribeService(ctx, &apprunner.DescribeServiceInput{ServiceArn: w.arn})
			if lookErr != nil || now.Service.Status != types.ServiceStatusOperationInProgress { // else a push was faster
				return nil, fmt.Errorf("start deployment: %w", err)
			}
		}
	}
}

// revisions returns the number of the service's newest revision, and whether what was uploaded has its
// requests.
func (w *watch) revisions(ctx context.Context) (newest int, serves bool, err error) {
	list, err := w.local.Revisions(ctx, aws.ToString(w.arn))
	if err != nil {
		return 0, false, err
	}
	for _, rev := range list {
		newest = max(newest, rev.Number)
		serves = serves || rev.Serving && rev.Commit == w.commit
	}
	return newest, serves, nil
}

// follow prints what the operation in progress says, until it has ended or requests go to what was
// uploaded. followed is false when there was none.
func (w *watch) follow(ctx context.Context) (svc *types.Service, followed bool, err error) {
	op, err := w.operation(ctx)
	if err != nil {
		return nil, false, err
	}
	f := &following{watch: w, operation: op}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		out, err := w.client.DescribeService(ctx, &apprunner.DescribeServiceInput{ServiceArn: w.arn})
		if err != nil {
			return nil, false, fmt.Errorf("describe service: %w", err)
		}
		if op.Id == nil {
			return out.Service, false, nil
		}
		switched, err := f.look()
		if err != nil {
			return nil, false, err
		}
		if switched {
			if _, serves, err := w.revisions(ctx); err != nil || serves {
				return out.Service, true, err
			}
		}
		now, err := w.operation(ctx)
		if err != nil || aws.ToString(now.Id) != aws.ToString(op.Id) {
			_, lookErr := f.look() // what was said since
			return out.Service, true, errors.Join(err, lookErr)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// operation returns the operation in progress; one without Id: there is none.
func (w *watch) operation(ctx context.Context) (types.OperationSummary, error) {
	out, err := w.client.ListOperations(ctx, &apprunner.ListOperationsInput{ServiceArn: w.arn, MaxResults: aws.Int32(1)})
	if err != nil {
		return types.OperationSummary{}, fmt.Errorf("list operations: %w", err)
	}
	if len(out.OperationSummaryList) == 0 || out.OperationSummaryList[0].EndedAt != nil {
		return types.OperationSummary{}, nil
	}
	return out.OperationSummaryList[0], nil
}

// following is what was seen of one operation.
type following struct {
	*watch
	operation types.OperationSummary
	printed   int // lines of its log so far
}

// look prints what the operation has said since the last look and reports whether requests go to its
// version.
func (f *following) look() (switched bool, err error) {
	arn, err := apron.ParseARN(aws.ToString(f.arn))
	if err != nil {
		return false, err
	}
	id := apron.ServiceID(arn.ID)
	lines, err := f.local.OperationLog(id, apron.OperationID(aws.ToString(f.operation.Id)), 0)
	if err != nil {
		return false, err
	}
	for _, e := range lines[min(f.printed, len(lines)):] {
		fmt.Fprintln(f.to, e.Message)
	}
	f.printed = len(lines)
	events, err := f.local.Events(id, 10)
	for _, e := range events {
		// Of this operation: events have milliseconds, and nothing is routed in its first.
		switched = switched || e.Message == routed && e.At.After(aws.ToTime(f.operation.StartedAt))
	}
	return switched, err
}
