package store

import (
	"context"
	"fmt"

	"apron"
)

const serviceColumns = `id, account, region, name, host, status, config, active, candidate, created_at, updated_at, deleted_at`

func scanService(r scanner, svc *apron.Service) error {
	var (
		config                    []byte
		created, updated, deleted int64
	)
	err := r.Scan(&svc.ID, &svc.Scope.Account, &svc.Scope.Region, &svc.Name, &svc.Host, &svc.Status, &config,
		&svc.Active, &svc.Candidate, &created, &updated, &deleted)
	if err != nil {
		return err
	}
	svc.CreatedAt, svc.UpdatedAt, svc.DeletedAt = fromMicros(created), fromMicros(updated), fromMicros(deleted)
	svc.Config, err = decodeConfig(config)
	return err
}

// InsertService adds a service and its tags. ErrExists: a service in the scope that is neither
// deleted nor being deleted has the name, or any service has the id. ErrHostTaken: any service has
// the host. A zero CreatedAt or UpdatedAt becomes Now.
func (t *Tx) InsertService(ctx context.Context, svc apron.Service, tags []apron.Tag) error {
	config, err := encodeConfig(svc.Config)
	if err != nil {
		return fmt.Errorf("insert service %s: %w", svc.ID, err)
	}
	n, err := t.exec(ctx, `insert into services (id, account, region, name, name_held, host, status, config, auto_scaling,
		active, candidate, created_at, updated_at, deleted_at)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		string(svc.ID), svc.Scope.Account, svc.Scope.Region, svc.Name, flag(svc.Status != apron.ServiceDeleted),
		svc.Host, string(svc.Status), config, scalingColumn(svc.Config.AutoScaling), string(svc.Active),
		string(svc.Candidate), t.orNow(svc.CreatedAt), t.orNow(svc.UpdatedAt), t.deletedAt(svc))
	if err != nil {
		return fmt.Errorf("insert service %s: %w", svc.ID, err)
	}
	if n == 0 {
		return t.whyTaken(ctx, svc)
	}
	return t.PutTags(ctx, svc.ARN(), tags)
}

// whyTaken returns the error for a service whose insert met a row that is there already.
func (t *Tx) whyTaken(ctx context.Context, svc apron.Service) error {
	var taken int
	err := t.row(ctx, func(r scanner) error { return r.Scan(&taken) },
		`select count(*) from services where host = ? and id <> ? and not (account = ? and region = ? and name = ? and name_held = 1)`,
		svc.Host, string(svc.ID), svc.Scope.Account, svc.Scope.Region, svc.Name)
	if err != nil {
		return fmt.Errorf("insert service %s: %w", svc.ID, err)
	}
	if taken > 0 {
		return fmt.Errorf("insert service %s: %s: %w", svc.ID, svc.Host, ErrHostTaken)
	}
	return fmt.Errorf("insert service %s: %s: %w", svc.ID, svc.Name, ErrExists)
}

// UpdateService writes what can change of a service: its status, configuration, revisions and time
// of deletion. It sets UpdatedAt to Now, and DeletedAt if the service is deleted and has none; a
// deleted service no longer holds its name. ErrNotFound.
func (t *Tx) UpdateService(ctx context.Context, svc apron.Service) error {
	config, err := encodeConfig(svc.Config)
	if err != nil {
		return fmt.Errorf("update service %s: %w", svc.ID, err)
	}
	n, err := t.exec(ctx, `update services set status = ?, config = ?, auto_scaling = ?, active = ?, candidate = ?,
		updated_at = ?, deleted_at = ?, name_held = case when ? = 'DELETED' then 0 else name_held end where id = ?`,
		string(svc.Status), config, scalingColumn(svc.Config.AutoScaling), string(svc.Active), string(svc.Candidate),
		micros(t.now), t.deletedAt(svc), string(svc.Status), string(svc.ID))
	return changed(n, err, "update service", string(svc.ID))
}

// ReleaseName frees the service's name for another from now on: its deletion was accepted.
// ErrNotFound.
func (t *Tx) ReleaseName(ctx context.Context, id apron.ServiceID) error {
	n, err := t.exec(ctx, `update services set name_held = 0 where id = ?`, string(id))
	return changed(n, err, "release name of service", string(id))
}

// Service returns the service in whatever state it is. Nothing else changes it before the
// transaction ends. ErrNotFound.
func (t *Tx) Service(ctx context.Context, id apron.ServiceID) (apron.Service, error) {
	return t.service(ctx, id, `select `+serviceColumns+` from services where id = ?`+t.d.lockRow)
}

// Service returns the service in whatever state it is. ErrNotFound.
func (r reader) Service(ctx context.Context, id apron.ServiceID) (apron.Service, error) {
	return r.service(ctx, id, `select `+serviceColumns+` from services where id = ?`)
}

func (r reader) service(ctx context.Context, id apron.ServiceID, query string) (apron.Service, error) {
	var svc apron.Service
	err := r.row(ctx, func(row scanner) error { return scanService(row, &svc) }, query, string(id))
	if err != nil {
		return apron.Service{}, fmt.Errorf("service %s: %w", id, err)
	}
	return svc, nil
}

// Services returns the scope's services that are not deleted, oldest first, from the cursor after
// (empty: the start), at most limit (0: all), and the cursor of the next page (empty: this is the
// last). A cursor stays good whatever is added or deleted in between; one that is not of this
// method's making is an Invalid Fault.
func (r reader) Services(ctx context.Context, scope apron.Scope, after string, limit int) ([]apron.Service, string, error) {
	from := cursor{n: -1}
	if after != "" {
		var err error
		if from, err = parseCursor(after); err != nil {
			return nil, "", err
		}
	}
	list, err := r.services(ctx, `select `+serviceColumns+` from services
		where account = ? and region = ? and (created_at, id) > (?, ?) and deleted_at = 0
		order by created_at, id limit ?`, scope.Account, scope.Region, from.n, from.id, oneMore(limit))
	if err != nil {
		return nil, "", fmt.Errorf("services of %s: %w", scope, err)
	}
	if limit == 0 || len(list) <= limit {
		return list, "", nil
	}
	last := list[limit-1]
	return list[:limit], cursor{n: micros(last.CreatedAt), id: string(last.ID)}.encode(), nil
}

// LiveServices returns the services of every scope that are not deleted, oldest first.
func (r reader) LiveServices(ctx context.Context) ([]apron.Service, error) {
	list, err := r.services(ctx, `select `+serviceColumns+` from services where deleted_at = 0 order by created_at, id`)
	if err != nil {
		return nil, fmt.Errorf("live services: %w", err)
	}
	return list, nil
}

func (r reader) services(ctx context.Context, query string, args ...any) ([]apron.Service, error) {
	var list []apron.Service
	err := r.rows(ctx, func(row scanner) error {
		var svc apron.Service
		err := scanService(row, &svc)
		list = append(list, svc)
		return err
	}, query, args...)
	return list, err
}
