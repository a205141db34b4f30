package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// wakeChannel is the Postgres notification channel that says an operation can be run. It is shared
// by every schema of a database: a wake too many does no harm.
const wakeChannel = "apron_operations"

// wake has the runners of other processes look for work when the transaction commits.
func (t *Tx) wake(ctx context.Context) error {
	if t.d.notify == "" {
		return nil
	}
	if _, err := t.exec(ctx, t.d.notify); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	return nil
}

// Wakes calls fn whenever another process may have queued an operation, until ctx is done; it then
// returns ctx's error. fn must not block. It returns another error when the connection is lost: the
// caller calls it again after a while, and is woken at once for what it has missed. On SQLite the
// queue has one process, so fn is never called.
func (s *Store) Wakes(ctx context.Context, fn func()) error {
	if s.d.listen == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	conn, err := pgx.ConnectConfig(ctx, s.d.listen)
	if err != nil {
		return fmt.Errorf("listen for operations: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // only tells the server politely; the socket is closed in any case
	}()
	if _, err := conn.Exec(ctx, "listen "+wakeChannel); err != nil {
		return fmt.Errorf("listen for operations: %w", err)
	}
	for {
		fn() // before the first wait: something may have been queued while nobody listened
		if _, err := conn.WaitForNotification(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("listen for operations: %w", err)
		}
	}
}
