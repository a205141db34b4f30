package main

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"apron"
	"apron/server"
)

type webhooksCommand struct {
	Name string `arg:"" help:"Name of the service."`
}

// Run prints both, for the settings of the repository at GitHub, GitLab, Gitea or Bitbucket.
func (c *webhooksCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	svc, err := findService(ctx, newClient(local), c.Name)
	if err != nil {
		return err
	}
	if svc == nil {
		return fmt.Errorf("there is no service %s", c.Name)
	}
	url, secret, err := local.Webhook(apron.ServiceID(aws.ToString(svc.ServiceId)))
	if err != nil {
		return err
	}
	fmt.Printf("URL:    %s\nSecret: %s\n", url, secret)
	return nil
}
