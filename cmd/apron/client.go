package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/aws/smithy-go"

	"apron/server"
)

// newClient returns the official SDK's client for the server on this machine.
func newClient(l server.Local) *apprunner.Client {
	return apprunner.New(apprunner.Options{
		Region:       l.Region,
		BaseEndpoint: aws.String("http://" + l.Listen),
		Credentials:  credentials.NewStaticCredentialsProvider(l.Key.ID, l.Key.Secret, ""),
		HTTPClient:   &http.Client{Timeout: time.Minute},
	})
}

// said is what an error says, with the API's own words in place of the SDK's account of the call. What is
// the server's fault keeps that account: it has the request's id.
func said(err error) string {
	call, called := errors.AsType[*smithy.OperationError](err)
	answer, answered := errors.AsType[smithy.APIError](err)
	if !called || !answered || answer.ErrorFault() == smithy.FaultServer {
		return err.Error()
	}
	return strings.Replace(err.Error(), call.Error(), answer.ErrorCode()+": "+answer.ErrorMessage(), 1)
}

// findService returns the summary of the service with the name, or nil when there is none.
func findService(ctx context.Context, c *apprunner.Client, name string) (*types.ServiceSummary, error) {
	pages := apprunner.NewListServicesPaginator(c, &apprunner.ListServicesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list services: %w", err)
		}
		for _, s := range page.ServiceSummaryList {
			if aws.ToString(s.ServiceName) == name {
				return &s, nil
			}
		}
	}
	return nil, nil
}

// pollEvery is how often a service in transition is looked at: the API has no way to wait for it.
const pollEvery = 50 * time.Millisecond

// awaitService returns the service once no operation is in progress.
func awaitService(ctx context.Context, c *apprunner.Client, arn *string) (*types.Service, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		out, err := c.DescribeService(ctx, &apprunner.DescribeServiceInput{ServiceArn: arn})
		if err != nil {
			return nil, fmt.Errorf("describe service: %w", err)
		}
		if out.Service.Status != types.ServiceStatusOperationInProgress {
			return out.Service, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
