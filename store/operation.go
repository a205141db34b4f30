package store

import (
	"context"
	"fmt"
	"strconv"

	"apron"
)

const operationColumns = `id, service, number, type, status, revision, step, attempt, reason,
	undoing, cancel_requested, started_at, updated_at, ended_at, deadline, runner, fence, runnable_at`

// operationRow is a row of operations.
type operationRow struct {
	apron.Operation
	number     int64
	undoing    bool
	runner     string
	fence      int64
	runnableAt int64
}

func scanOperation(r scanner, op *operationRow) error {
	var (
		undoing, canceled                 int
		started, updated, ended, deadline int64
	)
	err := r.Scan(&op.ID, &op.Service, &op.number, &op.Type, &op.Status, &op.Revision, &op.Step, &op.Attempt, &op.Reason,
		&undoing, &canceled, &started, &updated, &ended, &deadline, &op.runner, &op.fence, &op.runnableAt)
	if err != nil {
		return err
	}
	op.undoing, op.Canceled = undoing != 0, canceled != 0
	op.StartedAt, op.UpdatedAt = fromMicros(started), fromMicros(updated)
	op.EndedAt, op.Deadline = fromMicros(ended), fromMicros(deadline)
	return nil
}

// InsertOperation queues an operation, which must be PENDING, and wakes the runners of other
// processes when the transaction commits. A zero StartedAt or UpdatedAt becomes Now. ErrBusy: the
// service has an operation that has not ended. ErrNotFound: no such service. ErrExists: the id is
// taken.
func (t *Tx) InsertOperation(ctx context.Context, op apron.Operation) error {
	err := t.insertOperation(ctx, op)
	if err != nil {
		return fmt.Errorf("insert operation %s: %w", op.ID, err)
	}
	return nil
}

func (t *Tx) insertOperation(ctx context.Context, op apron.Operation) error {
	if op.Status != apron.OperationPending {
		return fmt.Errorf("status is %s", op.Status)
	}
	if err := t.lockService(ctx, op.Service); err != nil {
		return err
	}
	started := t.orNow(op.StartedAt)
	n, err := t.exec(ctx, `insert into operations (id, service, number, type, status, revision,
		started_at, updated_at, deadline, runnable_at)
		values (?, ?, (select coalesce(max(number), 0) + 1 from operations where service = ?), ?, ?, ?, ?, ?, ?, ?)
		on conflict do nothing`,
		string(op.ID), string(op.Service), string(op.Service), string(op.Type), string(op.Status), string(op.Revision),
		started, t.orNow(op.UpdatedAt), micros(op.Deadline), started)
	if err != nil {
		return err
	}
	if n == 0 {
		return t.whyRefused(ctx, op)
	}
	return t.wake(ctx)
}

// whyRefused returns the error for an operation whose insert met a row that is there already.
func (t *Tx) whyRefused(ctx context.Context, op apron.Operation) error {
	var open int
	err := t.row(ctx, func(r scanner) error { return r.Scan(&open) },
		`select count(*) from operations where service = ? and ended_at = 0`, string(op.Service))
	if err != nil {
		return err
	}
	if open > 0 {
		return ErrBusy
	}
	return ErrExists
}

// Operation returns one operation. ErrNotFound.
func (r reader) Operation(ctx context.Context, id apron.OperationID) (apron.Operation, error) {
	row, err := r.operation(ctx, id, "")
	return row.Operation, err
}

func (r reader) operation(ctx context.Context, id apron.OperationID, lock string) (operationRow, error) {
	var op operationRow
	err := r.row(ctx, func(row scanner) error { return scanOperation(row, &op) },
		`select `+operationColumns+` from operations where id = ?`+lock, string(id))
	if err != nil {
		return operationRow{}, fmt.Errorf("operation %s: %w", id, err)
	}
	return op, nil
}

// Operations returns the service's operations, newest first, from the cursor after (empty: the
// newest), at most limit (0: all), and the cursor of the next page (empty: this is the last). A
// cursor that is not of this method's making is an Invalid Fault.
func (r reader) Operations(ctx context.Context, service apron.ServiceID, after string, limit int) ([]apron.Operation, string, error) {
	before := oneMore(0)
	if after != "" {
		from, err := parseCursor(after)
		if err != nil {
			return nil, "", err
		}
		before = from.n
	}
	var (
		list    []apron.Operation
		numbers []int64
	)
	err := r.rows(ctx, func(row scanner) error {
		var op operationRow
		err := scanOperation(row, &op)
		list, numbers = append(list, op.Operation), append(numbers, op.number)
		return err
	}, `select `+operationColumns+` from operations where service = ? and number < ? order by number desc limit ?`,
		string(service), before, oneMore(limit))
	if err != nil {
		return nil, "", fmt.Errorf("operations of service %s: %w", service, err)
	}
	if limit == 0 || len(list) <= limit {
		return list, "", nil
	}
	return list[:limit], cursor{n: numbers[limit-1], id: strconv.Itoa(limit)}.encode(), nil
}
