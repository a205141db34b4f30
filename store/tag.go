package store

import (
	"context"
	"fmt"
	"strings"

	"apron"
)

// Tags returns the resource's tags in the order in which their keys were first added; none if
// there is no such resource.
func (r reader) Tags(ctx context.Context, arn apron.ARN) ([]apron.Tag, error) {
	var tags []apron.Tag
	err := r.rows(ctx, func(row scanner) error {
		var tag apron.Tag
		err := row.Scan(&tag.Key, &tag.Value)
		tags = append(tags, tag)
		return err
	}, `select key, value from tags where arn = ? order by position`, arn.String())
	if err != nil {
		return nil, fmt.Errorf("tags of %s: %w", arn, err)
	}
	return tags, nil
}

// PutTags adds tags to a resource; a key that is there already keeps its place and gets the new
// value. A NUL character, which not every database can store, is an Invalid Fault.
func (t *Tx) PutTags(ctx context.Context, arn apron.ARN, tags []apron.Tag) error {
	for _, tag := range tags {
		if strings.ContainsRune(tag.Key, 0) || strings.ContainsRune(tag.Value, 0) {
			return apron.Faultf(apron.Invalid, "A tag must not contain the character U+0000.")
		}
		_, err := t.exec(ctx, `insert into tags (arn, key, value, position)
			values (?, ?, ?, (select coalesce(max(position), 0) + 1 from tags where arn = ?))
			on conflict (arn, key) do update set value = excluded.value`,
			arn.String(), tag.Key, tag.Value, arn.String())
		if err != nil {
			return fmt.Errorf("put tags of %s: %w", arn, err)
		}
	}
	return nil
}

// DeleteTags removes the tags with the given keys; keys that are not there are left out.
func (t *Tx) DeleteTags(ctx context.Context, arn apron.ARN, keys []string) error {
	for _, key := range keys {
		if strings.ContainsRune(key, 0) {
			continue // cannot be there
		}
		if _, err := t.exec(ctx, `delete from tags where arn = ? and key = ?`, arn.String(), key); err != nil {
			return fmt.Errorf("delete tags of %s: %w", arn, err)
		}
	}
	return nil
}
