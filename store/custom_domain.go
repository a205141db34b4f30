package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"apron"
)

const domainColumns = `service, domain, www, status, records, created_at, updated_at`

// recordDocument is the stored form of a validation record; its member names never change.
type recordDocument struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Value  string `json:"value"`
	Status string `json:"status"`
}

func scanDomain(r scanner, d *apron.CustomDomain) error {
	var (
		www              int
		records          []byte
		created, updated int64
		docs             []recordDocument
	)
	err := r.Scan(&d.Service, &d.Domain, &www, &d.Status, &records, &created, &updated)
	if err != nil {
		return err
	}
	d.EnableWWW = www != 0
	d.CreatedAt, d.UpdatedAt = fromMicros(created), fromMicros(updated)
	if err := json.Unmarshal(records, &docs); err != nil {
		return fmt.Errorf("decode validation records: %w", err)
	}
	for _, doc := range docs {
		d.Records = append(d.Records, apron.ValidationRecord(doc))
	}
	return nil
}

func encodeRecords(records []apron.ValidationRecord) (string, error) {
	docs := make([]recordDocument, len(records))
	for i, r := range records {
		docs[i] = recordDocument(r)
	}
	b, err := json.Marshal(docs)
	if err != nil {
		return "", fmt.Errorf("encode validation records: %w", err)
	}
	return string(b), nil
}

// InsertCustomDomain adds an association. Its status is to be moved on at due. ErrExists: a service
// that is not deleted has the domain; see CustomDomainHolder. A zero CreatedAt or UpdatedAt becomes
// Now.
func (t *Tx) InsertCustomDomain(ctx context.Context, d apron.CustomDomain, due time.Time) error {
	if err := t.insertDomain(ctx, d, due); err != nil {
		return fmt.Errorf("insert custom domain %s: %w", d.Domain, err)
	}
	return t.wakeAt(ctx, due)
}

func (t *Tx) insertDomain(ctx context.Context, d apron.CustomDomain, due time.Time) error {
	records, err := encodeRecords(d.Records)
	if err != nil {
		return err
	}
	// A deleted service gives its domains up, but its rows are there for a while.
	_, err = t.exec(ctx, `delete from custom_domains where name = ?
		and exists (select 1 from services s where s.id = custom_domains.service and s.deleted_at <> 0)`, d.Key())
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, `insert into custom_domains (name, `+domainColumns+`, due_at)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing`,
		d.Key(), string(d.Service), d.Domain, flag(d.EnableWWW), string(d.Status), records,
		t.orNow(d.CreatedAt), t.orNow(d.UpdatedAt), micros(due))
	if err == nil && n == 0 {
		err = ErrExists
	}
	return err
}

// UpdateCustomDomain writes the association's status and validation records, and sets UpdatedAt to
// Now if the status is another. Its status is to be moved on at due; zero: it rests. ErrNotFound.
func (t *Tx) UpdateCustomDomain(ctx context.Context, d apron.CustomDomain, due time.Time) error {
	records, err := encodeRecords(d.Records)
	if err != nil {
		return fmt.Errorf("update custom domain %s: %w", d.Domain, err)
	}
	n, err := t.exec(ctx, `update custom_domains
		set updated_at = case status when ? then updated_at else ? end, status = ?, records = ?, due_at = ?
		where name = ? and service = ?`,
		string(d.Status), micros(t.now), string(d.Status), records, micros(due), d.Key(), string(d.Service))
	if err := changed(n, err, "update custom domain", d.Domain); err != nil {
		return err
	}
	return t.wakeAt(ctx, due)
}

// DeleteCustomDomain removes an association for good. ErrNotFound.
func (t *Tx) DeleteCustomDomain(ctx context.Context, d apron.CustomDomain) error {
	n, err := t.exec(ctx, `delete from custom_domains where name = ? and service = ?`, d.Key(), string(d.Service))
	return changed(n, err, "delete custom domain", d.Domain)
}

// CustomDomainHolder returns an association with a service that is not deleted, of any account and
// region, that claims a host name which d would claim too. ErrNotFound: the names are free.
func (r reader) CustomDomainHolder(ctx context.Context, d apron.CustomDomain) (apron.CustomDomain, error) {
	var held apron.CustomDomain
	scan := func(row scanner) error { return scanDomain(row, &held) }
	for _, host := range d.Hosts() {
		err := r.row(ctx, scan, `select `+domainColumns+` from custom_domains
			where (name = ? or (name = ? and www = 1))
			and exists (select 1 from services s where s.id = custom_domains.service and s.deleted_at = 0) limit 1`, host, withoutWWW(host))
		if !errors.Is(err, ErrNotFound) {
			return held, err
		}
	}
	return apron.CustomDomain{}, ErrNotFound
}

// withoutWWW returns the domain whose association claims the host too, if it includes www; empty:
// there is none.
func withoutWWW(host string) string {
	if domain, ok := strings.CutPrefix(host, "www."); ok {
		return domain
	}
	return ""
}

// CustomDomains returns the service's associations, newest first, from the cursor after (empty: the
// newest), at most limit (0: all), and the cursor of the next page (empty: this is the last). A
// deleted service has none. A cursor that is not of this method's making is an Invalid Fault.
func (r reader) CustomDomains(ctx context.Context, service apron.ServiceID, after string, limit int) ([]apron.CustomDomain, string, error) {
	list, next, err := page(after, limit, cursor{n: math.MaxInt64}, func(from cursor, rows int64) (list []apron.CustomDomain, err error) {
		err = r.rows(ctx, func(row scanner) error {
			var d apron.CustomDomain
			err := scanDomain(row, &d)
			list = append(list, d)
			return err
		}, `select `+domainColumns+` from custom_domains
			where service = ? and (created_at, name) < (?, ?)
			and exists (select 1 from services s where s.id = custom_domains.service and s.deleted_at = 0)
			order by created_at desc, name desc limit ?`, string(service), from.n, from.id, rows)
		return list, err
	}, func(d apron.CustomDomain) cursor { return cursor{n: micros(d.CreatedAt), id: d.Key()} })
	if err != nil {
		return nil, "", fmt.Errorf("custom domains of service %s: %w", service, err)
	}
	return list, next, nil
}

// DueCustomDomain returns the association whose status has been due longest to be moved on. Nothing
// else changes it before the transaction ends; one that another transaction holds is left out.
// ErrNone: there is none.
func (t *Tx) DueCustomDomain(ctx context.Context) (apron.CustomDomain, error) {
	var d apron.CustomDomain
	err := t.row(ctx, func(row scanner) error { return scanDomain(row, &d) },
		`select `+domainColumns+` from custom_domains where due_at <> 0 and due_at <= ?
		order by due_at limit 1`+t.d.lockClaim, micros(t.now))
	if errors.Is(err, ErrNotFound) {
		return apron.CustomDomain{}, ErrNone
	}
	if err != nil {
		return apron.CustomDomain{}, fmt.Errorf("next custom domain: %w", err)
	}
	return d, nil
}
