// Package store keeps everything Apron must not forget: services, revisions, operations, tags, auto
// scaling configurations and access keys.
//
// There is one concrete [Store] over two databases: SQLite by default, Postgres for clusters. Both
// run the same statements; what differs is in dialect.go. Reads are methods of the store and, with
// the same names, of a transaction; writes are methods of a transaction, so that a resource and the
// operation that realises it become durable together. The operation table is the queue of the
// operation runner: an operation that has not ended is work to be done.
//
// Every test of this package runs on both databases; package storetest opens them for other tests.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What can go wrong besides the database itself. Callers test for them with errors.Is.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name or id is taken.
	ErrExists = errors.New("exists already")
	// ErrHostTaken: another service has the host.
	ErrHostTaken = errors.New("host is taken")
	// ErrBusy: the service has an operation that has not ended.
	ErrBusy = errors.New("an operation is in progress")
	// ErrNone: no operation can be run now.
	ErrNone = errors.New("nothing to run")
	// ErrLost: the lease has become another's, or the operation has ended.
	ErrLost = errors.New("lease lost")
)

// Store is an open database. It is safe for concurrent use; Close it when nothing uses it any more.
// On SQLite several processes may open the same file, on Postgres any number of machines.
type Store struct {
	reader
	write *sql.DB // on SQLite a single connection; on Postgres the same pool as for reads
	close func() error
	now   func() time.Time
}

// Option changes how a store is opened.
type Option func(*Store)

// WithNow makes the store read the time from now, for tests. The default is time.Now.
func WithNow(now func() time.Time) Option {
	return func(s *Store) { s.now = now }
}

// Open opens the database dsn names, makes it when it is a SQLite file that does not exist, and
// brings its schema up to date. dsn is "file:" followed by a path as it is, without options or
// escapes, or a "postgres://" URL; a search_path parameter of the URL chooses the schema.
// A database that a newer version has migrated further, or whose migrations were not these, is an
// error. Errors never hold the password of the URL.
func Open(ctx context.Context, dsn string, opts ...Option) (*Store, error) {
	s := &Store{now: time.Now}
	for _, o := range opts {
		o(s)
	}
	var err error
	switch {
	case strings.HasPrefix(dsn, "file:"):
		err = s.openSQLite(ctx, strings.TrimPrefix(dsn, "file:"))
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		err = s.openPostgres(ctx, dsn)
	default:
		scheme, _, _ := strings.Cut(dsn, ":")
		return nil, fmt.Errorf("open store: scheme %q is neither file nor postgres", scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate store: %w", err), s.Close())
	}
	return s, nil
}

// Close closes every connection. Calls that are under way fail.
func (s *Store) Close() error { return s.close() }

// clock returns the time as the databases keep it: UTC, whole microseconds.
func (s *Store) clock() time.Time { return time.UnixMicro(s.now().UnixMicro()).UTC() }

// micros converts a time to its column; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros converts a column to a time; 0 is the zero time.
func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// flag converts a truth value to its column.
func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
