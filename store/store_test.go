package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/store"
	"apron/store/storetest"
)

func TestOpenRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ dsn, want string }{
		"unknown scheme":   {"mysql://root:hunter2@localhost/apron", `scheme "mysql" is neither`},
		"no directory":     {"file:" + t.TempDir() + "/none/apron.db", "no such file or directory"},
		"not a database":   {"file:" + textFile(t), "not a database"},
		"malformed URL":    {"postgres://apron:hunter2@localhost:port/apron", "malformed"},
		"nobody listening": {"postgres://apron:hunter2@127.0.0.1:1/apron", "connect"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.Open(t.Context(), tc.dsn)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want it to contain %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func textFile(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "apron.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("This is no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSQLiteFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a dir with 100% odd?chars#")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "apron.db")
	s := storetest.OpenDSN(t, "file:"+path)
	insert(t, s, service(1))
	for _, name := range []string{"apron.db", "apron.db-wal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %s: got %o, want 600", name, got)
		}
	}
}

func TestReopen(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		want := service(1)
		first := storetest.OpenDSN(t, dsn)
		insert(t, first, want)
		second := storetest.OpenDSN(t, dsn) // while the first is open, as another process would
		got, err := second.Service(t.Context(), want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOpenAtTheSameTime(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				s, err := store.Open(t.Context(), dsn)
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
}

func TestOpenOtherMigrations(t *testing.T) {
	for name, tc := range map[string]struct{ change, want string }{
		"newer":   {`insert into migrations values (999, '0999_later.sql', '', 0)`, "newer version"},
		"changed": {`update migrations set checksum = 'x' where number = 1`, "different migration"},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.EachDSN(t, func(t *testing.T, dsn string) {
				storetest.OpenDSN(t, dsn)
				execute(t, dsn, tc.change)
				_, err := store.Open(t.Context(), dsn)
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want it to contain %q", err, tc.want)
				}
			})
		})
	}
}

// execute runs a statement on the database behind the store's back.
func execute(t *testing.T, dsn, statement string) {
	t.Helper()
	driver := "pgx"
	if strings.HasPrefix(dsn, "file:") {
		driver = "sqlite"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestTxRollsBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		mine := errors.New("mine")
		err := s.Tx(t.Context(), func(tx *store.Tx) error {
			if err := tx.InsertService(t.Context(), service(1), []apron.Tag{{Key: "k"}}); err != nil {
				return err
			}
			return mine
		})
		if !errors.Is(err, mine) {
			t.Fatalf("got %v, want the func's error", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = s.Tx(t.Context(), func(tx *store.Tx) error {
				if err := tx.InsertService(t.Context(), service(2), nil); err != nil {
					t.Error(err)
				}
				panic("in the middle")
			})
		}()
		list, err := s.LiveServices(t.Context())
		if err != nil || len(list) != 0 {
			t.Fatalf("got %d services, %v; want none", len(list), err)
		}
	})
}

// Transactions are serial: no read that a write depends on is out of date when it commits, whether
// or not it was of the row that is written.
func TestTxSerial(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		const workers, rounds = 4, 10
		insert(t, s, service(1), service(2))
		var group sync.WaitGroup
		for w := range workers {
			group.Go(func() {
				for range rounds {
					if err := s.Tx(t.Context(), func(tx *store.Tx) error { return countUp(t.Context(), tx, w%2+1) }); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		total := 0
		for n := range 2 {
			svc, err := s.Service(t.Context(), service(n+1).ID)
			if err != nil {
				t.Fatal(err)
			}
			count, _ := strconv.Atoi(svc.Config.KMSKey)
			total = max(total, count)
		}
		if total != workers*rounds {
			t.Errorf("got %d, want %d", total, workers*rounds)
		}
	})
}

// countUp writes to the n-th service one more than the largest count of both.
func countUp(ctx context.Context, tx *store.Tx, n int) error {
	list, err := tx.LiveServices(ctx)
	if err != nil {
		return err
	}
	largest := 0
	for _, svc := range list {
		count, _ := strconv.Atoi(svc.Config.KMSKey)
		largest = max(largest, count)
	}
	svc := list[n-1]
	svc.Config.KMSKey = strconv.Itoa(largest + 1)
	return tx.UpdateService(ctx, svc)
}

func TestTxNow(t *testing.T) {
	c := &clock{}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		tx(t, s, func(_ context.Context, tx *store.Tx) error {
			first := tx.Now()
			c.advance(1500) // 1.5 microseconds
			if second := tx.Now(); second != first {
				t.Errorf("the time moved within a transaction: %v, then %v", first, second)
			}
			if first.Nanosecond()%1000 != 0 || first.Location().String() != "UTC" {
				t.Errorf("got %v, want whole microseconds in UTC", first)
			}
			return nil
		})
	}, store.WithNow(c.now))
}
