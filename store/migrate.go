package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations
var migrations embed.FS

// migration is one numbered step of the schema. Once released it never changes.
type migration struct {
	number   int
	name     string
	script   string
	checksum string // hex SHA-256 of script
}

// migrationsOf returns the migrations of a dialect in order: files named NNNN_name.sql, numbered
// from 1 without gaps.
func migrationsOf(dialect string) ([]migration, error) {
	names, err := fs.Glob(migrations, "migrations/"+dialect+"/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	list := make([]migration, len(names))
	for i, path := range names {
		script, err := migrations.ReadFile(path)
		if err != nil {
			return nil, err
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		digits, _, _ := strings.Cut(name, "_")
		if n, err := strconv.Atoi(digits); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s is not number %d", name, i+1)
		}
		sum := sha256.Sum256(script)
		list[i] = migration{number: i + 1, name: name, script: string(script), checksum: hex.EncodeToString(sum[:])}
	}
	return list, nil
}

// migrate applies the migrations that the database lacks, in one transaction that keeps other
// migrators out.
func (s *Store) migrate(ctx context.Context) error {
	list, err := migrationsOf(s.d.name)
	if err != nil {
		return err
	}
	// Not s.Tx: its view of a Postgres database would be from before the lock was had.
	return s.try(ctx, sql.LevelDefault, func(t *Tx) error {
		if s.d.lockAll != "" {
			if _, err := t.exec(ctx, s.d.lockAll); err != nil {
				return fmt.Errorf("lock: %w", err)
			}
		}
		done, err := t.applied(ctx)
		if err != nil {
			return err
		}
		if err := verify(done, list); err != nil {
			return err
		}
		for _, m := range list[len(done):] {
			if err := t.apply(ctx, m); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		return nil
	})
}

// applied returns the migrations the database has had, in order, without their scripts.
func (t *Tx) applied(ctx context.Context) ([]migration, error) {
	_, err := t.exec(ctx, `create table if not exists migrations (
		number integer primary key, name text not null, checksum text not null, applied_at bigint not null)`)
	if err != nil {
		return nil, fmt.Errorf("create table migrations: %w", err)
	}
	var done []migration
	err = t.rows(ctx, func(r scanner) error {
		var m migration
		err := r.Scan(&m.number, &m.name, &m.checksum)
		done = append(done, m)
		return err
	}, `select number, name, checksum from migrations order by number`)
	if err != nil {
		return nil, fmt.Errorf("read table migrations: %w", err)
	}
	return done, nil
}

// verify reports a database that did not come from the migrations in list.
func verify(done, list []migration) error {
	if len(done) > len(list) {
		return fmt.Errorf("the database is of a newer version of Apron: it has migration %s", done[len(done)-1].name)
	}
	for i, m := range done {
		if m.number != list[i].number || m.name != list[i].name || m.checksum != list[i].checksum {
			return fmt.Errorf("the database has a different migration %s than this version of Apron", m.name)
		}
	}
	return nil
}

func (t *Tx) apply(ctx context.Context, m migration) error {
	// Not rewritten: a script has no placeholders. Without arguments both drivers take many statements.
	if _, err := t.tx.ExecContext(ctx, m.script); err != nil {
		return err
	}
	_, err := t.exec(ctx, `insert into migrations (number, name, checksum, applied_at) values (?, ?, ?, ?)`,
		m.number, m.name, m.checksum, micros(t.now))
	return err
}
