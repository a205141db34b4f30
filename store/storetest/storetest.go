// Package storetest opens stores for tests, of this repository's other packages too.
//
// SQLite is always there: a file in the test's temporary directory. Postgres takes part when
// APRON_TEST_POSTGRES holds the URL of a database in which the tests may create schemas, one for
// each test, dropped at its end. On a build server (CI=true) a missing URL is a failure.
package storetest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"apron/store"
)

// postgresVariable names the environment variable with the URL of the Postgres to test on.
const postgresVariable = "APRON_TEST_POSTGRES"

// Open returns an empty store on SQLite that is closed when the test ends.
func Open(tb testing.TB, opts ...store.Option) *store.Store {
	tb.Helper()
	return OpenDSN(tb, SQLite(tb), opts...)
}

// OpenDSN opens the store dsn names and closes it when the test ends.
func OpenDSN(tb testing.TB, dsn string, opts ...store.Option) *store.Store {
	tb.Helper()
	s, err := store.Open(tb.Context(), dsn, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close store: %v", err)
		}
	})
	return s
}

// Each runs fn as a subtest with an empty store on each database.
func Each(t *testing.T, fn func(t *testing.T, s *store.Store), opts ...store.Option) {
	t.Helper()
	EachDSN(t, func(t *testing.T, dsn string) { fn(t, OpenDSN(t, dsn, opts...)) })
}

// EachDSN runs fn as a subtest with the name of an empty database of each kind, for tests that open
// it more than once or from other processes.
func EachDSN(t *testing.T, fn func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// SQLite returns the name of a SQLite database that does not exist yet.
func SQLite(tb testing.TB) string {
	tb.Helper()
	return "file:" + filepath.Join(tb.TempDir(), "apron.db")
}

// Postgres returns the URL of an empty Postgres schema, which is dropped when the test ends. The
// test is skipped when there is no Postgres to test on, or fails if this is a build server.
func Postgres(tb testing.TB) string {
	tb.Helper()
	base := os.Getenv(postgresVariable)
	if base == "" {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("%s is not set", postgresVariable)
		}
		tb.Skipf("%s is not set", postgresVariable)
	}
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatalf("%s is not a URL", postgresVariable)
	}
	schema := "test_" + strings.ToLower(rand.Text())
	administer(tb, base, "create schema "+schema)
	tb.Cleanup(func() { administer(tb, base, "drop schema "+schema+" cascade") })
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String()
}

// administer runs one statement on a connection of its own.
func administer(tb testing.TB, dsn, statement string) {
	tb.Helper()
	// The context of a test is done when its clean-up runs.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		tb.Fatalf("connect to the test Postgres: %v", err)
	}
	defer func() { _ = conn.Close(ctx) }() // the statement is done
	if _, err := conn.Exec(ctx, statement); err != nil {
		tb.Fatalf("%s: %v", statement, err)
	}
}
