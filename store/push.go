package store

import (
	"context"
	"fmt"

	"apron"
)

// Push is what is known of pushes to a service's source.
type Push struct {
	Version string // the newest version anybody told of or an operation found; empty: none yet
	Pending bool   // it is to be deployed once the operation in progress has ended
}

// Push returns what is known of pushes to the service's source. ErrNotFound.
func (r reader) Push(ctx context.Context, id apron.ServiceID) (Push, error) {
	var p Push
	var pending int
	err := r.row(ctx, func(row scanner) error { return row.Scan(&p.Version, &pending) },
		`select pushed, push_pending from services where id = ?`, string(id))
	if err != nil {
		return Push{}, fmt.Errorf("push to service %s: %w", id, err)
	}
	p.Pending = pending != 0
	return p, nil
}

// SetPush records what is known of pushes to the service's source. ErrNotFound.
func (t *Tx) SetPush(ctx context.Context, id apron.ServiceID, p Push) error {
	n, err := t.exec(ctx, `update services set pushed = ?, push_pending = ? where id = ?`, p.Version, flag(p.Pending), string(id))
	return changed(n, err, "record push to service", string(id))
}

// NoteVersion records the newest version an operation has found in the service's source. A push that
// is pending came later: it stays.
func (t *Tx) NoteVersion(ctx context.Context, id apron.ServiceID, version string) error {
	_, err := t.exec(ctx, `update services set pushed = ? where id = ? and push_pending = 0`, version, string(id))
	if err != nil {
		return fmt.Errorf("note version of service %s: %w", id, err)
	}
	return nil
}

// PendingPushes returns the services with a pending push and no operation in progress.
func (r reader) PendingPushes(ctx context.Context) ([]apron.ServiceID, error) {
	var list []apron.ServiceID
	err := r.rows(ctx, func(row scanner) error {
		var id apron.ServiceID
		err := row.Scan(&id)
		list = append(list, id)
		return err
	}, `select id from services where push_pending = 1 and status <> 'OPERATION_IN_PROGRESS' order by id`)
	if err != nil {
		return nil, fmt.Errorf("pending pushes: %w", err)
	}
	return list, nil
}

// FollowedImages returns the images of the services of every scope that are deployed automatically.
func (r reader) FollowedImages(ctx context.Context) ([]apron.FollowedImage, error) {
	var list []apron.FollowedImage
	err := r.rows(ctx, func(row scanner) error {
		var f apron.FollowedImage
		err := row.Scan(&f.Service, &f.Scope.Account, &f.Scope.Region, &f.Identifier)
		list = append(list, f)
		return err
	}, `select id, account, region, followed_image from services where deleted_at = 0 and followed_image is not null
		order by followed_image, id`)
	if err != nil {
		return nil, fmt.Errorf("followed images: %w", err)
	}
	return list, nil
}

// FollowedBranches returns the branches of the services of every scope that are deployed
// automatically.
func (r reader) FollowedBranches(ctx context.Context) ([]apron.FollowedBranch, error) {
	var list []apron.FollowedBranch
	err := r.rows(ctx, func(row scanner) error {
		var f apron.FollowedBranch
		var config []byte
		if err := row.Scan(&f.Service, &f.Scope.Account, &f.Scope.Region, &config); err != nil {
			return err
		}
		c, err := decodeConfig(config)
		if err != nil || c.Source.Code == nil {
			return err
		}
		f.URL, f.Branch, f.SourceDirectory = c.Source.Code.URL, c.Source.Code.Branch, c.Source.Code.SourceDirectory
		f.ConnectionARN = c.Source.ConnectionARN
		list = append(list, f)
		return nil
	}, `select id, account, region, config from services where deleted_at = 0 and followed_repository is not null
		order by followed_repository, id`)
	if err != nil {
		return nil, fmt.Errorf("followed branches: %w", err)
	}
	return list, nil
}
