package store

import (
	"fmt"
	"math"
	"strings"
	"time"

	"apron"
)

// orNow returns the column for a time that was left out.
func (t *Tx) orNow(at time.Time) int64 {
	if at.IsZero() {
		return micros(t.now)
	}
	return micros(at)
}

// deletedAt returns when the service was deleted: never unless it is in that state.
func (t *Tx) deletedAt(svc apron.Service) int64 {
	if svc.Status != apron.ServiceDeleted {
		return 0
	}
	return t.orNow(svc.DeletedAt)
}

// changed turns a statement that should have changed one row into an error if it did not.
func changed(n int64, err error, action, id string) error {
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", action, id, err)
	}
	return nil
}

// oneMore returns how many rows to read to know whether a page of limit is the last; 0 means all.
func oneMore(limit int) int64 {
	if limit <= 0 {
		return math.MaxInt64
	}
	return int64(limit) + 1
}

// readable makes text that came from an application fit for a text column: valid UTF-8 without
// NUL, which Postgres cannot store, and at most max bytes.
func readable(s string, max int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= max {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:max-len(more)], "") + more
}
