package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// querier runs statements that return rows: a database, a transaction, or prepared statements.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// reader holds the reads that a Store and a Tx have in common.
type reader struct {
	d *dialect
	q querier
}

// scanner is a row to read columns from.
type scanner interface{ Scan(dest ...any) error }

// row runs a statement for one row and scans it. No row is ErrNotFound.
func (r reader) row(ctx context.Context, scan func(scanner) error, query string, args ...any) error {
	err := scan(r.q.QueryRowContext(ctx, r.d.rewrite(query), args...))
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// rows runs a statement and scans every row.
func (r reader) rows(ctx context.Context, scan func(scanner) error, query string, args ...any) error {
	rows, err := r.q.QueryContext(ctx, r.d.rewrite(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// prepared runs each statement of the package through a statement that is parsed once per
// connection: on SQLite parsing costs more than running a look-up.
type prepared struct {
	db    *sql.DB
	stmts sync.Map // query to *sql.Stmt; the queries are constants, so there are few
}

func (p *prepared) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if st, ok := p.stmts.Load(query); ok {
		return st.(*sql.Stmt), nil
	}
	st, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := p.stmts.LoadOrStore(query, st); loaded {
		//nolint:sqlclosecheck // there is nothing to defer: two callers prepared it, one statement stays
		return first.(*sql.Stmt), st.Close()
	}
	return st, nil
}

// QueryContext implements querier.
func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := p.stmt(ctx, query) //nolint:sqlclosecheck // kept for the next caller; close closes it
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	return st.QueryContext(ctx, args...)
}

// QueryRowContext implements querier.
func (p *prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	st, err := p.stmt(ctx, query) //nolint:sqlclosecheck // kept for the next caller; close closes it
	if err != nil {
		return p.db.QueryRowContext(ctx, query, args...) // fails the same way, in the row
	}
	return st.QueryRowContext(ctx, args...)
}

// close closes the statements.
func (p *prepared) close() error {
	var errs []error
	p.stmts.Range(func(_, st any) bool {
		errs = append(errs, st.(*sql.Stmt).Close())
		return true
	})
	return errors.Join(errs...)
}
