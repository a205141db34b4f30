package store

// page reads one page of a list: what comes behind the cursor after (empty: from first, the cursor
// before everything), at most limit items (0: all). read returns up to rows items behind from, in
// order; at returns the cursor of an item. The second result is the cursor of the next page, empty
// when this is the last. A cursor stays good whatever is added or deleted in between; one that page
// did not make is an Invalid Fault.
func page[T any](after string, limit int, first cursor, read func(from cursor, rows int64) ([]T, error), at func(T) cursor) ([]T, string, error) {
	from := first
	if after != "" {
		var err error
		if from, err = parseCursor(after); err != nil {
			return nil, "", err
		}
	}
	list, err := read(from, oneMore(limit))
	if err != nil || limit <= 0 || len(list) <= limit {
		return list, "", err
	}
	return list[:limit], at(list[limit-1]).encode(), nil
}
