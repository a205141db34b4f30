package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron"
	"apron/server"
)

type deployCommand struct {
	Name   string            `arg:"" help:"Name of the service, 4 to 40 characters."`
	Image  string            `arg:"" help:"REPOSITORY[:TAG] in the embedded registry, or any image reference."`
	Port   uint16            `default:"8080" help:"Port the application listens on."`
	Env    map[string]string `short:"e" placeholder:"NAME=VALUE" help:"Environment variable of the application."`
	CPU    string            `name:"cpu" default:"1024" help:"CPU units of an instance."`
	Memory string            `default:"2048" help:"Memory of an instance, MB."`
	Health string            `placeholder:"PATH" help:"Check readiness with GET PATH instead of a TCP connection."`
}

// Run creates the service unless it exists, waits until it runs, and prints its URL.
func (d *deployCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	client, start := newClient(local), time.Now()
	arn, err := d.create(ctx, client, local)
	if err != nil {
		return err
	}
	svc, err := awaitService(ctx, client, arn)
	if err != nil {
		return err
	}
	if svc.Status != types.ServiceStatusRunning {
		fmt.Fprintf(os.Stderr, "Service %s is %s. Its latest events:\n", d.Name, svc.Status)
		if err := printEvents(os.Stderr, local, apron.ServiceID(aws.ToString(svc.ServiceId)), 20); err != nil {
			return err
		}
		return errors.New("the deployment failed")
	}
	fmt.Fprintf(os.Stderr, "Service %s is running (%s).\n", d.Name, time.Since(start).Round(time.Millisecond))
	fmt.Println(local.URL(aws.ToString(svc.ServiceUrl)))
	return nil
}

// create asks for the service and returns its ARN; one that exists is left as it is.
func (d *deployCommand) create(ctx context.Context, client *apprunner.Client, local server.Local) (*string, error) {
	have, err := findService(ctx, client, d.Name)
	if err != nil {
		return nil, err
	}
	if have != nil {
		fmt.Fprintf(os.Stderr, "Service %s exists already and is left as it is.\n", d.Name)
		return have.ServiceArn, nil
	}
	in := &apprunner.CreateServiceInput{
		ServiceName:         aws.String(d.Name),
		SourceConfiguration: d.source(local),
		InstanceConfiguration: &types.InstanceConfiguration{
			Cpu: aws.String(d.CPU), Memory: aws.String(d.Memory),
		},
	}
	if d.Health != "" {
		in.HealthCheckConfiguration = &types.HealthCheckConfiguration{
			Protocol: types.HealthCheckProtocolHttp, Path: aws.String(d.Health),
		}
	}
	out, err := client.CreateService(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("create service: %w", err)
	}
	return out.Service.ServiceArn, nil
}

// source names the image as App Runner would: a bare repository is one in the embedded registry.
func (d *deployCommand) source(local server.Local) *types.SourceConfiguration {
	image, config := d.Image, &types.ImageConfiguration{
		Port: aws.String(strconv.Itoa(int(d.Port))), RuntimeEnvironmentVariables: d.Env,
	}
	if first, _, _ := strings.Cut(image, "/"); first == image || !strings.ContainsAny(first, ".:") {
		image = fmt.Sprintf("%s.dkr.ecr.%s.amazonaws.com/%s", local.Account, local.Region, image)
	}
	if strings.HasPrefix(image, "public.ecr.aws/") {
		return &types.SourceConfiguration{ImageRepository: &types.ImageRepository{
			ImageIdentifier: aws.String(image), ImageRepositoryType: types.ImageRepositoryTypeEcrPublic, ImageConfiguration: config,
		}}
	}
	role := fmt.Sprintf("arn:aws:iam::%s:role/service-role/AppRunnerECRAccessRole", local.Account)
	return &types.SourceConfiguration{
		AuthenticationConfiguration: &types.AuthenticationConfiguration{AccessRoleArn: aws.String(role)},
		ImageRepository: &types.ImageRepository{
			ImageIdentifier: aws.String(image), ImageRepositoryType: types.ImageRepositoryTypeEcr, ImageConfiguration: config,
		},
	}
}
