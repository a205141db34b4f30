package store

import (
	"encoding/base64"
	"strconv"
	"strings"

	"apron"
)

// cursor is a position in a list that is ordered by a number, then an id: the last item of a page.
type cursor struct {
	n  int64
	id string
}

// encode returns c in the opaque form that callers keep.
func (c cursor) encode() string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(c.n, 10) + "/" + c.id))
}

// parseCursor reads what encode made. Anything else is an Invalid Fault.
func parseCursor(s string) (cursor, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err == nil {
		digits, id, ok := strings.Cut(string(text), "/")
		n, err := strconv.ParseInt(digits, 10, 64)
		if c := (cursor{n, id}); ok && err == nil && c.encode() == s && !strings.ContainsRune(id, 0) {
			return c, nil
		}
	}
	return cursor{}, apron.Faultf(apron.Invalid, "Invalid NextToken.")
}
