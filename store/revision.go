package store

import (
	"context"
	"fmt"

	"apron"
)

const revisionColumns = `id, service, number, config, image_reference, image_digest, created_at, outcome, reason, copy_of, build`

func scanRevision(r scanner, rev *apron.Revision) error {
	var (
		config, build []byte
		created       int64
	)
	err := r.Scan(&rev.ID, &rev.Service, &rev.Number, &config, &rev.Image.Reference, &rev.Image.Digest, &created,
		&rev.Outcome, &rev.Reason, &rev.CopyOf, &build)
	if err != nil {
		return err
	}
	rev.CreatedAt = fromMicros(created)
	if rev.Build, err = decodeBuild(build); err != nil {
		return err
	}
	rev.Config, err = decodeConfig(config)
	return err
}

// InsertRevision adds a revision and returns it with its Number, one more than the service's last,
// and with CreatedAt Now if it was zero. Its outcome is set by SetRevisionOutcome alone. ErrNotFound:
// no such service. ErrExists: the id is taken.
func (t *Tx) InsertRevision(ctx context.Context, rev apron.Revision) (apron.Revision, error) {
	// Holding the service's row keeps two transactions from taking the same number.
	if err := t.lockService(ctx, rev.Service); err != nil {
		return apron.Revision{}, fmt.Errorf("insert revision %s: %w", rev.ID, err)
	}
	config, err := encodeConfig(rev.Config)
	if err != nil {
		return apron.Revision{}, fmt.Errorf("insert revision %s: %w", rev.ID, err)
	}
	build, err := encodeBuild(rev.Build)
	if err != nil {
		return apron.Revision{}, fmt.Errorf("insert revision %s: %w", rev.ID, err)
	}
	created := t.orNow(rev.CreatedAt)
	n, err := t.exec(ctx, `insert into revisions (id, service, number, config, image_reference, image_digest, created_at, copy_of, build)
		values (?, ?, (select coalesce(max(number), 0) + 1 from revisions where service = ?), ?, ?, ?, ?, ?, ?)
		on conflict do nothing`,
		string(rev.ID), string(rev.Service), string(rev.Service), config, rev.Image.Reference, rev.Image.Digest, created, rev.CopyOf, build)
	if err == nil && n == 0 {
		err = ErrExists
	}
	if err != nil {
		return apron.Revision{}, fmt.Errorf("insert revision %s: %w", rev.ID, err)
	}
	return t.Revision(ctx, rev.ID)
}

// lockService keeps other transactions from changing the service, its revisions and operations.
func (t *Tx) lockService(ctx context.Context, id apron.ServiceID) error {
	var found string
	return t.row(ctx, func(r scanner) error { return r.Scan(&found) },
		`select id from services where id = ?`+t.d.lockRow, string(id))
}

// Revision returns one revision. ErrNotFound.
func (r reader) Revision(ctx context.Context, id apron.RevisionID) (apron.Revision, error) {
	var rev apron.Revision
	err := r.row(ctx, func(row scanner) error { return scanRevision(row, &rev) },
		`select `+revisionColumns+` from revisions where id = ?`, string(id))
	if err != nil {
		return apron.Revision{}, fmt.Errorf("revision %s: %w", id, err)
	}
	return rev, nil
}

// Revisions returns the service's revisions, oldest first; none if there is no such service.
func (r reader) Revisions(ctx context.Context, service apron.ServiceID) ([]apron.Revision, error) {
	var list []apron.Revision
	err := r.rows(ctx, func(row scanner) error {
		var rev apron.Revision
		err := scanRevision(row, &rev)
		list = append(list, rev)
		return err
	}, `select `+revisionColumns+` from revisions where service = ? order by number`, string(service))
	if err != nil {
		return nil, fmt.Errorf("revisions of service %s: %w", service, err)
	}
	return list, nil
}

// SetRevisionImage records what the revision's image resolved to. ErrNotFound.
func (t *Tx) SetRevisionImage(ctx context.Context, id apron.RevisionID, image apron.Image) error {
	n, err := t.exec(ctx, `update revisions set image_reference = ?, image_digest = ? where id = ?`,
		image.Reference, image.Digest, string(id))
	return changed(n, err, "set image of revision", string(id))
}

// SetRevisionOutcome records what became of a revision's deployment, and why if it failed. The reason
// is cut after MaxReason bytes. ErrNotFound.
func (t *Tx) SetRevisionOutcome(ctx context.Context, id apron.RevisionID, outcome apron.RevisionOutcome, reason string) error {
	n, err := t.exec(ctx, `update revisions set outcome = ?, reason = ? where id = ?`,
		string(outcome), readable(reason, MaxReason), string(id))
	return changed(n, err, "set outcome of revision", string(id))
}

// DeleteRevision forgets a revision; one that is not there is forgotten already. The newest one of a
// service must stay, because numbers are never used again.
func (t *Tx) DeleteRevision(ctx context.Context, id apron.RevisionID) error {
	if _, err := t.exec(ctx, `delete from revisions where id = ?`, string(id)); err != nil {
		return fmt.Errorf("delete revision %s: %w", id, err)
	}
	return nil
}

// KeptRevisions returns the revisions of services that are not deleted of which something may have to
// be kept: those that have served, and all of a service with an operation in progress.
func (r reader) KeptRevisions(ctx context.Context) ([]apron.RevisionID, error) {
	var list []apron.RevisionID
	err := r.rows(ctx, func(row scanner) error {
		var id apron.RevisionID
		err := row.Scan(&id)
		list = append(list, id)
		return err
	}, `select r.id from revisions r join services s on s.id = r.service where s.deleted_at = 0
		and (s.status = 'OPERATION_IN_PROGRESS' or r.outcome in ('DEPLOYED', 'SUPERSEDED'))`)
	if err != nil {
		return nil, fmt.Errorf("kept revisions: %w", err)
	}
	return list, nil
}
