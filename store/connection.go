package store

import (
	"context"
	"fmt"
	"strings"

	"apron"
)

const connectionColumns = `id, account, region, name, provider, status, created_at, deleted_at, hosts`

// scanConnection reads connectionColumns, and what is selected behind them into more.
func scanConnection(r scanner, c *apron.Connection, more ...any) error {
	var (
		created, deleted int64
		hosts            string
	)
	err := r.Scan(append([]any{
		&c.ARN.ID, &c.ARN.Scope.Account, &c.ARN.Scope.Region, &c.ARN.Name, &c.Provider, &c.Status, &created, &deleted, &hosts,
	}, more...)...)
	c.ARN.Type = apron.ResourceConnection
	if c.Hosts = nil; hosts != "" {
		c.Hosts = strings.Fields(hosts)
	}
	c.CreatedAt, c.DeletedAt = fromMicros(created), fromMicros(deleted)
	return err
}

// InsertConnection adds a connection and its tags. ErrExists: one in the scope that is not deleted
// has the name, or any has the id. A zero CreatedAt becomes Now.
func (t *Tx) InsertConnection(ctx context.Context, c apron.Connection, tags []apron.Tag) error {
	n, err := t.exec(ctx, `insert into connections (`+connectionColumns+`) values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		c.ARN.ID, c.ARN.Scope.Account, c.ARN.Scope.Region, c.ARN.Name, c.Provider, string(c.Status),
		t.orNow(c.CreatedAt), micros(c.DeletedAt), strings.Join(c.Hosts, " "))
	if err == nil && n == 0 {
		err = ErrExists
	}
	if err != nil {
		return fmt.Errorf("insert connection %s: %w", c.ARN, err)
	}
	return t.PutTags(ctx, c.ARN, tags)
}

// UpdateConnection writes the connection's status, hosts and time of deletion, with which its credential
// goes.
// ErrNotFound.
func (t *Tx) UpdateConnection(ctx context.Context, c apron.Connection) error {
	credential := "credential"
	if !c.DeletedAt.IsZero() {
		credential = "''"
	}
	n, err := t.exec(ctx, `update connections set status = ?, deleted_at = ?, hosts = ?, credential = `+credential+` where id = ?`,
		string(c.Status), micros(c.DeletedAt), strings.Join(c.Hosts, " "), c.ARN.ID)
	return changed(n, err, "update connection", c.ARN.String())
}

// SetConnectionCredential records what opens the connection's repositories, sealed; empty: nothing
// does. ErrNotFound.
func (t *Tx) SetConnectionCredential(ctx context.Context, arn apron.ARN, sealed string) error {
	n, err := t.exec(ctx, `update connections set credential = ? where id = ? and deleted_at = 0`, sealed, arn.ID)
	return changed(n, err, "set credential of connection", arn.String())
}

// ConnectionCredential returns the connection and what opens its repositories, sealed; empty: nothing
// does. ErrNotFound.
func (r reader) ConnectionCredential(ctx context.Context, arn apron.ARN) (conn apron.Connection, sealed string, err error) {
	err = r.row(ctx, func(row scanner) error { return scanConnection(row, &conn, &sealed) },
		`select `+connectionColumns+`, credential from connections where id = ? and deleted_at = 0`, arn.ID)
	if err != nil {
		return apron.Connection{}, "", fmt.Errorf("credential of connection %s: %w", arn, err)
	}
	return conn, sealed, nil
}

// Connection returns the connection of a full ARN in whatever state it is. ErrNotFound.
func (r reader) Connection(ctx context.Context, arn apron.ARN) (apron.Connection, error) {
	var c apron.Connection
	err := r.row(ctx, func(row scanner) error { return scanConnection(row, &c) },
		`select `+connectionColumns+` from connections where id = ?`, arn.ID)
	if err == nil && c.ARN != arn {
		err = ErrNotFound
	}
	if err != nil {
		return apron.Connection{}, fmt.Errorf("connection %s: %w", arn, err)
	}
	return c, nil
}

// Connections returns the scope's connections that are not deleted, all or the one with the name,
// oldest first, from the cursor after (empty: the start), at most limit (0: all), and the cursor of
// the next page (empty: this is the last). A cursor that is not of this method's making is an
// Invalid Fault.
func (r reader) Connections(ctx context.Context, scope apron.Scope, name, after string, limit int) ([]apron.Connection, string, error) {
	list, next, err := page(after, limit, cursor{n: -1}, func(from cursor, rows int64) (list []apron.Connection, err error) {
		query := `select ` + connectionColumns + ` from connections
			where account = ? and region = ? and (created_at, id) > (?, ?) and deleted_at = 0`
		args := []any{scope.Account, scope.Region, from.n, from.id}
		if name != "" {
			query += ` and name = ?`
			args = append(args, name)
		}
		err = r.rows(ctx, func(row scanner) error {
			var c apron.Connection
			err := scanConnection(row, &c)
			list = append(list, c)
			return err
		}, query+` order by created_at, id limit ?`, append(args, rows)...)
		return list, err
	}, func(c apron.Connection) cursor { return cursor{n: micros(c.CreatedAt), id: c.ARN.ID} })
	if err != nil {
		return nil, "", fmt.Errorf("connections of %s: %w", scope, err)
	}
	return list, next, nil
}

// CountConnections returns how many connections of the scope are not deleted.
func (r reader) CountConnections(ctx context.Context, scope apron.Scope) (int, error) {
	n, err := r.count(ctx, `select count(*) from connections where account = ? and region = ? and deleted_at = 0`,
		scope.Account, scope.Region)
	if err != nil {
		return 0, fmt.Errorf("count connections of %s: %w", scope, err)
	}
	return n, nil
}
