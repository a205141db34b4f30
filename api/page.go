package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"

	"apron"
	"apron/control"
)

// listing is what a page token is bound to: one list, as one caller sees it. MaxResults is not
// part of it; pages of one list may differ in size.
type listing struct {
	action string
	scope  apron.Scope
	filter string // what else of the request selects the items
}

// token is the content of a page token: base64 of its JSON. Bound is no secret and guards nothing
// that the caller could not list from the start; it tells a token of this list from any other.
type token struct {
	After string `json:"after"`
	Bound string `json:"bound"`
}

// page returns the position that a request's NextToken and MaxResults ask for. A token that was
// not made for this list is an Invalid Fault; an empty one is none.
func (l listing) page(next *string, maxResults *int) (control.Page, error) {
	var p control.Page
	if maxResults != nil {
		p.Limit = *maxResults
	}
	if next == nil || *next == "" {
		return p, nil
	}
	after, ok := l.parse(*next)
	if !ok {
		return p, apron.Faultf(apron.Invalid, "NextToken is invalid, or belongs to a request with other parameters.")
	}
	p.After = after
	return p, nil
}

// next returns the token of the page after the cursor, nil when there is none.
func (l listing) next(after string) *string {
	if after == "" {
		return nil
	}
	b, _ := json.Marshal(token{after, l.bind(after)}) // two strings: cannot fail
	s := base64.RawURLEncoding.EncodeToString(b)
	return &s
}

func (l listing) parse(s string) (after string, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return "", false
	}
	var t token
	if json.Unmarshal(b, &t) != nil || t.After == "" || t.Bound != l.bind(t.After) {
		return "", false
	}
	// One spelling per token: whatever else decodes to the same values was not made here.
	again := l.next(t.After)
	return t.After, *again == s
}

// bind returns a short hash of everything a token is bound to.
func (l listing) bind(after string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{l.action, l.scope.String(), l.filter, after}, "\x00")))
	return hex.EncodeToString(sum[:12])
}
