package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/aws/smithy-go"

	"apron"
	"apron/api"
)

// realTime lets clients that cannot be told the time in.
func realTime(c *api.Config) { c.Now = time.Now }

func sdk(url string) *apprunner.Client { return sdkWith(url, secret) }

func sdkWith(url, secret string) *apprunner.Client {
	return apprunner.New(apprunner.Options{
		Region: region, BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
		RetryMaxAttempts: 1,
	})
}

func publicImage(name string) *apprunner.CreateServiceInput {
	return &apprunner.CreateServiceInput{
		ServiceName: aws.String(name),
		SourceConfiguration: &types.SourceConfiguration{ImageRepository: &types.ImageRepository{
			ImageIdentifier: aws.String("public.ecr.aws/x/y:1"), ImageRepositoryType: types.ImageRepositoryTypeEcrPublic,
		}},
	}
}

// TestSDK walks a service's life with the AWS SDK for Go, which also judges the wire format.
func TestSDK(t *testing.T) {
	f := newFront(t, realTime)
	c := sdk(f.serve(t))
	ctx := t.Context()

	in := publicImage("web-app")
	in.InstanceConfiguration = &types.InstanceConfiguration{Cpu: aws.String("0.25 vCPU"), Memory: aws.String("0.5 GB")}
	in.NetworkConfiguration = &types.NetworkConfiguration{IngressConfiguration: &types.IngressConfiguration{IsPubliclyAccessible: false}}
	created, err := c.CreateService(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	svc := created.Service
	if *svc.InstanceConfiguration.Cpu != "256" || *svc.InstanceConfiguration.Memory != "512" {
		t.Errorf("sizes %s %s", *svc.InstanceConfiguration.Cpu, *svc.InstanceConfiguration.Memory)
	}
	if svc.NetworkConfiguration.IngressConfiguration.IsPubliclyAccessible {
		t.Error("{} must mean private")
	}
	if svc.Status != types.ServiceStatusOperationInProgress || len(*created.OperationId) != 36 || !svc.CreatedAt.Equal(epoch) {
		t.Errorf("%s %s %s", svc.Status, *created.OperationId, svc.CreatedAt)
	}
	described, err := c.DescribeService(ctx, &apprunner.DescribeServiceInput{ServiceArn: svc.ServiceArn})
	if err != nil || *described.Service.ServiceUrl != *svc.ServiceUrl {
		t.Errorf("describe: %v", err)
	}
	f.settle(t, *svc.ServiceArn, apron.ServiceRunning)
	deleted, err := c.DeleteService(ctx, &apprunner.DeleteServiceInput{ServiceArn: svc.ServiceArn})
	if err != nil || deleted.Service.Status != types.ServiceStatusOperationInProgress {
		t.Errorf("delete: %v", err)
	}
	operations, err := c.ListOperations(ctx, &apprunner.ListOperationsInput{ServiceArn: svc.ServiceArn})
	if err != nil || len(operations.OperationSummaryList) != 2 || operations.NextToken != nil {
		t.Fatalf("operations: %v", err)
	}
	newest := operations.OperationSummaryList[0]
	if *newest.Id != *deleted.OperationId || newest.Type != types.OperationTypeDeleteService || newest.EndedAt != nil || *newest.TargetArn != *svc.ServiceArn {
		t.Errorf("newest operation: %+v", newest)
	}
}

// TestSDKErrors has the SDK recognise the modelled errors.
func TestSDKErrors(t *testing.T) {
	f := newFront(t, realTime)
	url := f.serve(t)
	c := sdk(url)
	_, err := c.DescribeService(t.Context(), &apprunner.DescribeServiceInput{ServiceArn: aws.String(missingARN)})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) || !strings.Contains(missing.ErrorMessage(), missingARN) {
		t.Errorf("got %v", err)
	}
	_, err = c.CreateService(t.Context(), publicImage("x"))
	var invalid *types.InvalidRequestException
	if !errors.As(err, &invalid) || !strings.HasPrefix(invalid.ErrorMessage(), "2 validation errors detected: ") {
		t.Errorf("got %v", err)
	}
	busy, err := c.CreateService(t.Context(), publicImage("busy-app"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteService(t.Context(), &apprunner.DeleteServiceInput{ServiceArn: busy.Service.ServiceArn})
	if _, ok := errors.AsType[*types.InvalidStateException](err); !ok {
		t.Errorf("got %v", err)
	}
	_, err = sdkWith(url, "wrong").ListServices(t.Context(), &apprunner.ListServicesInput{})
	var front smithy.APIError
	if !errors.As(err, &front) || front.ErrorCode() != "InvalidSignatureException" {
		t.Errorf("got %v", err)
	}
}

// TestSDKPages follows tokens through pages of every size, and expects every service once.
func TestSDKPages(t *testing.T) {
	f := newFront(t, realTime)
	c := sdk(f.serve(t))
	const n = 7
	for i := range n {
		f.advance(time.Second) // lists are in the order of creation
		if _, err := c.CreateService(t.Context(), publicImage(fmt.Sprintf("service-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	for size := int32(0); size <= n+1; size++ {
		in := &apprunner.ListServicesInput{}
		if size > 0 {
			in.MaxResults = &size
		}
		seen, pages := 0, apprunner.NewListServicesPaginator(c, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range page.ServiceSummaryList {
				if want := fmt.Sprintf("service-%d", seen); *s.ServiceName != want {
					t.Errorf("page size %d: got %s, want %s", size, *s.ServiceName, want)
				}
				seen++
			}
		}
		if seen != n {
			t.Errorf("page size %d: %d services", size, seen)
		}
	}
}
