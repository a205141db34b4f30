package store

import (
	"context"
	"fmt"
	"time"

	"apron"
)

const keyColumns = `id, secret, account, principal, disabled, created_at, last_used_at`

func scanKey(r scanner, k *apron.AccessKey) error {
	var (
		disabled      int
		created, used int64
	)
	err := r.Scan(&k.ID, &k.Secret, &k.Account, &k.Principal, &disabled, &created, &used)
	k.Disabled, k.CreatedAt, k.LastUsedAt = disabled != 0, fromMicros(created), fromMicros(used)
	return err
}

// InsertAccessKey adds a key. A zero CreatedAt becomes Now. ErrExists: the id is taken.
func (t *Tx) InsertAccessKey(ctx context.Context, k apron.AccessKey) error {
	n, err := t.exec(ctx, `insert into access_keys (`+keyColumns+`) values (?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		k.ID, k.Secret, k.Account, k.Principal, flag(k.Disabled), t.orNow(k.CreatedAt), micros(k.LastUsedAt))
	if err == nil && n == 0 {
		err = ErrExists
	}
	if err != nil {
		return fmt.Errorf("insert access key %s: %w", k.ID, err)
	}
	return nil
}

// AccessKey returns the key, disabled or not. ErrNotFound.
func (r reader) AccessKey(ctx context.Context, id string) (apron.AccessKey, error) {
	var k apron.AccessKey
	err := r.row(ctx, func(row scanner) error { return scanKey(row, &k) },
		`select `+keyColumns+` from access_keys where id = ?`, id)
	if err != nil {
		return apron.AccessKey{}, fmt.Errorf("access key: %w", err) // the id may be any text a client sent
	}
	return k, nil
}

// AccessKeys returns the account's keys, oldest first.
func (r reader) AccessKeys(ctx context.Context, account string) ([]apron.AccessKey, error) {
	var list []apron.AccessKey
	err := r.rows(ctx, func(row scanner) error {
		var k apron.AccessKey
		err := scanKey(row, &k)
		list = append(list, k)
		return err
	}, `select `+keyColumns+` from access_keys where account = ? order by created_at, id`, account)
	if err != nil {
		return nil, fmt.Errorf("access keys of account %s: %w", account, err)
	}
	return list, nil
}

// SetAccessKeyDisabled disables a key or enables it again. ErrNotFound.
func (t *Tx) SetAccessKeyDisabled(ctx context.Context, id string, disabled bool) error {
	n, err := t.exec(ctx, `update access_keys set disabled = ? where id = ?`, flag(disabled), id)
	return changed(n, err, "disable or enable access key", id)
}

// DeleteAccessKey removes a key for good. ErrNotFound.
func (t *Tx) DeleteAccessKey(ctx context.Context, id string) error {
	n, err := t.exec(ctx, `delete from access_keys where id = ?`, id)
	return changed(n, err, "delete access key", id)
}

// TouchAccessKeys records when keys were used last, by id. A time before the recorded one and a key
// that is gone change nothing.
func (s *Store) TouchAccessKeys(ctx context.Context, used map[string]time.Time) error {
	if len(used) == 0 {
		return nil
	}
	err := s.Tx(ctx, func(t *Tx) error {
		for id, at := range used {
			_, err := t.exec(ctx, `update access_keys set last_used_at = ? where id = ? and last_used_at < ?`,
				micros(at), id, micros(at))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record use of access keys: %w", err)
	}
	return nil
}
