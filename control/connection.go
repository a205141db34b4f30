package control

import (
	"context"
	"errors"
	"fmt"

	"apron"
	"apron/store"
)

// NewConnection is a request to create a connection.
type NewConnection struct {
	Name     string
	Provider string // API enum ProviderType
	Tags     []apron.Tag
}

// CreateConnection records a connection whose handshake is to be completed; see CompleteConnection.
// Faults: Invalid, Quota.
func (c *Control) CreateConnection(ctx context.Context, scope apron.Scope, in NewConnection) (apron.Connection, error) {
	if err := apron.CheckTags(apron.ResourceConnection, in.Tags); err != nil {
		return apron.Connection{}, err
	}
	var conn apron.Connection
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		conn = apron.Connection{
			ARN:      apron.ARN{Scope: scope, Type: apron.ResourceConnection, Name: in.Name, ID: newID()},
			Provider: in.Provider, Status: apron.ConnectionPendingHandshake, CreatedAt: tx.Now(),
		}
		err := tx.InsertConnection(ctx, conn, in.Tags)
		if errors.Is(err, store.ErrExists) {
			return apron.Faultf(apron.Invalid, "Connection with the provided name already exists: %s", in.Name)
		}
		if err != nil || c.cfg.Quotas.Connections == 0 {
			return err
		}
		n, err := tx.CountConnections(ctx, scope)
		if err != nil {
			return err
		}
		return apron.OverQuota(c.cfg.Quotas.Connections, n-1, "connections")
	})
	if err != nil {
		return apron.Connection{}, fmt.Errorf("create connection: %w", err)
	}
	return conn, nil
}

// Connections returns one page of the scope's connections, oldest first, and the cursor of the next
// page (empty: none). name, if not empty, leaves only the connection of that name.
func (c *Control) Connections(ctx context.Context, scope apron.Scope, name string, page Page) ([]apron.Connection, string, error) {
	return c.cfg.Store.Connections(ctx, scope, name, page.After, page.Limit)
}

// DeleteConnection deletes the connection of a full ARN and returns it as it is then. What a
// service uses stays. Faults: Invalid, NotFound.
func (c *Control) DeleteConnection(ctx context.Context, scope apron.Scope, arn string) (apron.Connection, error) {
	a, err := resource(scope, arn, apron.ResourceConnection)
	if err != nil {
		return apron.Connection{}, err
	}
	var conn apron.Connection
	err = c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		var err error
		conn, err = tx.Connection(ctx, a)
		if errors.Is(err, store.ErrNotFound) || err == nil && conn.Status == apron.ConnectionDeleted {
			return notFound(arn)
		}
		if err != nil {
			return err
		}
		used, err := tx.InUse(ctx, a)
		if err != nil {
			return err
		}
		if used {
			return inUse("Connection", a)
		}
		conn.Status, conn.DeletedAt = apron.ConnectionDeleted, tx.Now()
		return tx.UpdateConnection(ctx, conn)
	})
	if err != nil {
		return apron.Connection{}, fmt.Errorf("delete connection: %w", err)
	}
	return conn, nil
}

// Completion is what the owner of a connection has brought from its handshake. Where it is zero, what
// there was stays.
type Completion struct {
	Hosts []string                                 // those the token is for
	Seal  func(apron.ARN) (sealed string, _ error) // returns the credential as it is stored; nil: none
}

// CompleteConnection makes the connection of that name AVAILABLE: its owner has completed the
// handshake, for which App Runner's API has no action. Faults: Invalid, NotFound.
func (c *Control) CompleteConnection(ctx context.Context, scope apron.Scope, name string, in Completion) (apron.Connection, error) {
	hosts := make([]string, len(in.Hosts))
	for i, host := range in.Hosts {
		var err error
		if hosts[i], err = apron.ParseTokenHost(host); err != nil {
			return apron.Connection{}, err
		}
	}
	var conn apron.Connection
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		list, _, err := tx.Connections(ctx, scope, name, "", 1)
		if err != nil {
			return err
		}
		if len(list) == 0 || name == "" {
			return apron.Faultf(apron.NotFound, "Connection not found: %s", name)
		}
		conn = list[0]
		conn.Status = apron.ConnectionAvailable
		if len(hosts) > 0 {
			conn.Hosts = hosts
		}
		if in.Seal != nil {
			sealed, err := in.Seal(conn.ARN)
			if err != nil {
				return err
			}
			if err := tx.SetConnectionCredential(ctx, conn.ARN, sealed); err != nil {
				return err
			}
		}
		return tx.UpdateConnection(ctx, conn)
	})
	if err != nil {
		return apron.Connection{}, fmt.Errorf("complete connection: %w", err)
	}
	return conn, nil
}
