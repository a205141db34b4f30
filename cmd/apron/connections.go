package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"

	"apron"
	"apron/server"
	"apron/source"
)

type connectionsCommand struct {
	Complete completeConnectionCommand `cmd:"" help:"Complete a connection's handshake: it becomes AVAILABLE."`
	List     listConnectionsCommand    `cmd:"" help:"List connections."`
	Delete   deleteConnectionCommand   `cmd:"" help:"Delete a connection."`
}

type completeConnectionCommand struct {
	Name      string   `arg:"" help:"Name of the connection."`
	User      string   `placeholder:"NAME" help:"User name that goes with the token. Default: one that the known providers accept."`
	Token     string   `placeholder:"TOKEN" xor:"credential" env:"APRON_TOKEN" help:"Access token that opens the provider's repositories over https. Other users of the machine can see arguments: rather use --token-file."`
	TokenFile string   `placeholder:"FILE" xor:"credential" help:"File with the access token; - for standard input."`
	SSHKey    string   `name:"ssh-key" placeholder:"FILE" xor:"credential" help:"File with a private key, without a passphrase, that opens the provider's repositories over ssh."`
	Host      []string `placeholder:"HOST" sep:"none" help:"Host, or host:port, that the token is for; may be repeated. Default: those there were, at first github.com or bitbucket.org. A key is not bound to hosts."`
}

// credential reads what was given.
func (c *completeConnectionCommand) credential() (source.GitCredential, error) {
	read := func(name string) (string, error) {
		if name == "-" {
			name = "/dev/stdin"
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read credential: %w", err)
		}
		return string(text), nil
	}
	got := source.GitCredential{User: c.User, Token: c.Token}
	var err error
	switch {
	case c.TokenFile != "":
		got.Token, err = read(c.TokenFile)
	case c.SSHKey != "":
		got.SSHKey, err = read(c.SSHKey)
	}
	got.Token = strings.TrimSpace(got.Token)
	return got, err
}

// Run completes the handshake. The credential is encrypted and never shown again.
func (c *completeConnectionCommand) Run(s *settings) error {
	credential, err := c.credential()
	if err != nil {
		return err
	}
	return s.admin(func(ctx context.Context, a *server.Admin) error {
		connection, err := a.CompleteConnection(ctx, c.Name, credential, c.Host)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s\n", connection.ARN, connection.Status)
		return nil
	})
}

type listConnectionsCommand struct{}

// Run prints a line per connection.
func (listConnectionsCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	var hosts map[string]apron.TokenHosts
	err = s.admin(func(ctx context.Context, a *server.Admin) (err error) { hosts, err = a.TokenHosts(ctx); return err })
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "NAME\tPROVIDER\tSTATUS\tTOKEN FOR\tARN")
	pages := apprunner.NewListConnectionsPaginator(newClient(local), &apprunner.ListConnectionsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list connections: %w", err)
		}
		for _, c := range page.ConnectionSummaryList {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n",
				aws.ToString(c.ConnectionName), c.ProviderType, c.Status, hosts[aws.ToString(c.ConnectionArn)], aws.ToString(c.ConnectionArn))
		}
	}
	return w.Flush()
}

type deleteConnectionCommand struct {
	Name string `arg:"" help:"Name of the connection."`
}

// Run deletes the connection with the name.
func (c *deleteConnectionCommand) Run(s *settings) error {
	local, err := s.local()
	if err != nil {
		return err
	}
	ctx, stop := server.Interrupted()
	defer stop()
	client := newClient(local)
	found, err := client.ListConnections(ctx, &apprunner.ListConnectionsInput{ConnectionName: aws.String(c.Name)})
	if err != nil {
		return fmt.Errorf("list connections: %w", err)
	}
	if len(found.ConnectionSummaryList) == 0 {
		return fmt.Errorf("there is no connection %s", c.Name)
	}
	_, err = client.DeleteConnection(ctx, &apprunner.DeleteConnectionInput{
		ConnectionArn: found.ConnectionSummaryList[0].ConnectionArn,
	})
	if err != nil {
		return fmt.Errorf("delete connection: %w", err)
	}
	return nil
}
