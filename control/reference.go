package control

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"apron"
	"apron/store"
)

// named parses arn, full or partial, and checks its type and scope.
func named(scope apron.Scope, arn string, t apron.ResourceType) (apron.ARN, error) {
	a, err := apron.ParseARN(arn)
	if err != nil {
		return apron.ARN{}, err
	}
	if a.Type != t {
		return apron.ARN{}, apron.Faultf(apron.Invalid, "Invalid ARN: %s is not the ARN of %s.", arn, kindOf(t))
	}
	if a.Scope != scope {
		return apron.ARN{}, notFound(arn)
	}
	return a, nil
}

// resolveReferences replaces what a service's configuration names by what the store knows under
// that name, and refuses what is not there or cannot be used yet. autoScalingARN is what the client
// sent, full or partial; empty keeps the configuration's own, or is the scope's default when it has
// none. What was resolved before resolves to itself. It is the last step before the configuration
// is written in the same transaction, so that nothing it names can be deleted in between. Faults:
// Invalid, NotFound.
func (c *Control) resolveReferences(ctx context.Context, tx *store.Tx, scope apron.Scope, config *apron.ServiceConfiguration, autoScalingARN string) error {
	if err := checkText(*config); err != nil {
		return err
	}
	if autoScalingARN != "" || config.AutoScaling == (apron.ARN{}) {
		asc, err := c.autoScaling(ctx, tx, scope, autoScalingARN)
		if err != nil {
			return err
		}
		config.AutoScaling = asc.ARN
	}
	var err error
	if config.Observability, err = resolveObservability(ctx, tx, scope, config.Observability); err != nil {
		return err
	}
	if arn := config.Network.VPCConnector; arn != "" {
		connector, err := namedConnector(ctx, tx, scope, arn)
		if err != nil {
			return err
		}
		if !connector.Active() {
			return notFound(arn)
		}
	}
	if config.Source.ConnectionARN != "" {
		return c.connected(ctx, tx, scope, config.Source)
	}
	return nil
}

// connected checks that a service may be built with its connection: it can be used, and its token is for
// the repository's host. What is read with it is refused to others again, when it is read.
func (c *Control) connected(ctx context.Context, tx *store.Tx, scope apron.Scope, s apron.SourceConfiguration) error {
	conn, err := usable(ctx, tx, scope, s.ConnectionARN)
	if err != nil || s.Code == nil {
		return err
	}
	u, err := url.Parse(s.Code.URL)
	if err != nil {
		return apron.Faultf(apron.Invalid, "RepositoryUrl is not a URL.")
	}
	hosts := conn.TokenHosts(BelowLocalhost(c.cfg.Domain))
	if hosts.Allow(u) || c.cfg.Hosts(scope.Account, u) {
		return nil
	}
	return apron.Faultf(apron.Invalid, "Connection %s cannot be used with a repository at %s: it is for %s. "+
		"The server's operator can name other hosts: apron connections complete %s --host HOST.", s.ConnectionARN, u.Host, hosts, conn.ARN.Name)
}

// resolveObservability returns a service's tracing choice with the full ARN of its configuration,
// by default the one a scope starts with; with tracing off there is none.
func resolveObservability(ctx context.Context, tx *store.Tx, scope apron.Scope, o *apron.ServiceObservability) (*apron.ServiceObservability, error) {
	if o == nil || !o.Enabled {
		return o, nil
	}
	if o.Configuration == "" {
		return &apron.ServiceObservability{Enabled: true, Configuration: apron.DefaultObservability(scope).ARN.String()}, nil
	}
	config, err := namedObservability(ctx, tx, scope, o.Configuration)
	if err != nil {
		return nil, err
	}
	if !config.Active() {
		return nil, notFound(o.Configuration)
	}
	return &apron.ServiceObservability{Enabled: true, Configuration: config.ARN.String()}, nil
}

// usable returns the connection of a full ARN, which can be used to read source code.
func usable(ctx context.Context, tx *store.Tx, scope apron.Scope, arn string) (apron.Connection, error) {
	a, err := resource(scope, arn, apron.ResourceConnection)
	if err != nil {
		return apron.Connection{}, err
	}
	conn, err := tx.Connection(ctx, a)
	if errors.Is(err, store.ErrNotFound) || err == nil && conn.Status == apron.ConnectionDeleted {
		return apron.Connection{}, notFound(arn)
	}
	if err != nil {
		return apron.Connection{}, fmt.Errorf("read connection: %w", err)
	}
	if conn.Status != apron.ConnectionAvailable {
		return apron.Connection{}, apron.Faultf(apron.Invalid, "Connection %s is not available. Its status is %s.", arn, conn.Status)
	}
	return conn, nil
}

// checkText refuses the character U+0000, which the database of a cluster cannot look into a
// document with and no program can be passed.
func checkText(config apron.ServiceConfiguration) error {
	text := []string{config.HealthCheck.Path}
	run := config.Source.Run()
	if code := config.Source.Code; code != nil {
		text = append(text, code.URL, code.Branch, code.SourceDirectory)
		if code.Values != nil { // also those that do not count
			text = append(text, code.Values.BuildCommand)
			run = code.Values.Run
		}
	}
	text = append(text, run.StartCommand, run.Port)
	for _, pairs := range []map[string]string{run.Env, run.Secrets} {
		for name, value := range pairs {
			text = append(text, name, value)
		}
	}
	for _, s := range text {
		if strings.ContainsRune(s, 0) {
			return apron.Faultf(apron.Invalid, "The configuration must not contain the character U+0000.")
		}
	}
	return nil
}
