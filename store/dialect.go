package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is all that differs between the databases once they are open.
type dialect struct {
	name      string // folder of the migrations
	rewrite   func(query string) string
	lockRow   string // appended to a select whose row the transaction is about to change
	lockClaim string // the same, leaving out rows that another transaction holds
	lockAll   string // statement that keeps other migrators out until the transaction ends; empty: it does already
	notify    string // statement that wakes other processes when the transaction commits; empty: there are none
	isolation sql.IsolationLevel
	retryable func(error) bool // the transaction may succeed when run again
	listen    *pgx.ConnConfig  // to wait for notify with; nil: nobody can
}

// Limits of the connections.
const (
	sqliteReaders    = 4
	postgresConns    = 16
	busyTimeout      = 10 * time.Second // SQLite: wait for another process's transaction
	connectTimeout   = 10 * time.Second
	statementTimeout = 30 * time.Second
	idleTimeout      = 5 * time.Minute
)

func (s *Store) openSQLite(ctx context.Context, path string) error {
	if err := touch(path); err != nil {
		return err
	}
	// Full synchronous: an accepted request must survive a power cut (WAL alone may lose commits).
	options := fmt.Sprintf("?_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)",
		busyTimeout.Milliseconds())
	file := "file:" + (&url.URL{Path: path}).EscapedPath()
	// A transaction takes the write lock when it begins, so it never has to give up half way.
	write, err := sql.Open("sqlite", file+options+"&_txlock=immediate")
	if err != nil {
		return err
	}
	write.SetMaxOpenConns(1)
	d := &dialect{
		name:      "sqlite",
		rewrite:   func(query string) string { return query },
		isolation: sql.LevelDefault,
		retryable: sqliteBusy,
	}
	s.reader = reader{d: d}
	// Several processes that turn a new file to WAL at a time are told that it is busy at once: here
	// SQLite does not wait for its busy timeout.
	if err := s.retry(ctx, func() error { return write.PingContext(ctx) }); err != nil {
		return errors.Join(fmt.Errorf("open %s: %w", path, err), write.Close())
	}
	read, err := sql.Open("sqlite", file+options+"&_pragma=query_only(1)")
	if err != nil {
		return errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(sqliteReaders)
	read.SetMaxIdleConns(sqliteReaders)
	statements := &prepared{db: read}
	s.write, s.reader = write, reader{d: d, q: statements}
	s.close = func() error { return errors.Join(statements.close(), read.Close(), write.Close()) }
	return nil
}

// touch makes the file readable by its owner alone: it holds secrets. SQLite gives its side files
// the same mode.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func sqliteBusy(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	primary := e.Code() & 0xff // the upper bits say which kind of busy
	return primary == sqlite3.SQLITE_BUSY || primary == sqlite3.SQLITE_LOCKED
}

func (s *Store) openPostgres(ctx context.Context, dsn string) error {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return errors.New("read the Postgres URL: it is malformed") // err may hold the password
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	listen := config.Copy() // waits for as long as it takes, so without the limits below
	limits := map[string]time.Duration{
		"statement_timeout":                   statementTimeout,
		"idle_in_transaction_session_timeout": statementTimeout,
	}
	for name, d := range limits {
		if _, ok := config.RuntimeParams[name]; !ok {
			config.RuntimeParams[name] = strconv.FormatInt(d.Milliseconds(), 10)
		}
	}
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresConns / 2)
	db.SetConnMaxIdleTime(idleTimeout)
	if err := db.PingContext(ctx); err != nil {
		return errors.Join(fmt.Errorf("connect to Postgres at %s: %w", config.Host, err), db.Close())
	}
	d := &dialect{
		name:      "postgres",
		rewrite:   numbered(),
		lockRow:   " for update",
		lockClaim: " for update skip locked",
		lockAll:   `set local statement_timeout = 0; select pg_advisory_xact_lock(hashtextextended('apron ' || current_schema(), 0))`,
		notify:    `select pg_notify('` + wakeChannel + `', '')`,
		// The one level that gives what SQLite's single writer gives, so what is right on one is right
		// on the other.
		isolation: sql.LevelSerializable,
		retryable: postgresConflict,
		listen:    listen,
	}
	s.write, s.reader, s.close = db, reader{d: d, q: db}, db.Close
	return nil
}

// numbered returns a func that replaces the placeholders ? of a query by $1, $2, and so on. No
// query has a question mark that is not a placeholder.
func numbered() func(string) string {
	var known sync.Map // query to its rewritten form
	return func(query string) string {
		if done, ok := known.Load(query); ok {
			return done.(string)
		}
		var b strings.Builder
		for i, part := range strings.Split(query, "?") {
			if i > 0 {
				b.WriteString("$" + strconv.Itoa(i))
			}
			b.WriteString(part)
		}
		known.Store(query, b.String())
		return b.String()
	}
}

// postgresConflict reports serialization_failure and deadlock_detected (PostgreSQL manual, appendix
// A), after which a transaction is to be run again.
func postgresConflict(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40001" || e.Code == "40P01")
}
