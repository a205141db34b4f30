package sigv4

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// CanonicalRequest returns the text whose hash is signed ("Task 1" of the SigV4 reference). It is
// for finding out why a signature does not match: the result holds header values.
func CanonicalRequest(r *http.Request, signedHeaders []string, bodyHash [sha256.Size]byte) string {
	return string(appendCanonicalRequest(nil, r, signedHeaders, bodyHash))
}

func appendCanonicalRequest(b []byte, r *http.Request, signed []string, bodyHash [sha256.Size]byte) []byte {
	path, query := target(r)
	b = append(append(b, r.Method...), '\n')
	b = append(appendPath(b, path), '\n')
	b = append(appendQuery(b, query), '\n')
	for _, name := range signed {
		b = append(append(b, name...), ':')
		b = append(appendHeader(b, r, name), '\n')
	}
	b = append(b, '\n')
	for i, name := range signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	return hex.AppendEncode(b, bodyHash[:])
}

// target returns path and query as they were sent. The request line is used where there is one:
// parsing has already decoded what r.URL holds.
func target(r *http.Request) (path, query string) {
	if r.RequestURI == "" {
		return r.URL.EscapedPath(), r.URL.RawQuery
	}
	path, query, _ = strings.Cut(r.RequestURI, "?")
	if i := strings.Index(path, "://"); i >= 0 && path[0] != '/' { // absolute form, RFC 9112 section 3.2.2
		if j := strings.IndexByte(path[i+3:], '/'); j >= 0 {
			return path[i+3+j:], query
		}
		return "/", query
	}
	return path, query
}

// appendPath normalises a path (RFC 3986 section 5.2.4, and no empty segments) and encodes it once
// more: for services other than S3 the canonical path is encoded twice.
func appendPath(b []byte, path string) []byte {
	if path == "" || path == "/" {
		return append(b, '/')
	}
	start := len(b)
	for more := true; more; {
		var segment string
		segment, path, more = strings.Cut(path, "/")
		switch segment {
		case "", ".":
		case "..":
			if i := bytes.LastIndexByte(b[start:], '/'); i >= 0 {
				b = b[:start+i]
			}
		default:
			b = appendEncoded(append(b, '/'), segment)
			continue
		}
		if !more { // a trailing slash stays, and "." and ".." leave one
			b = append(b, '/')
		}
	}
	return b
}

// appendQuery sorts the parameters by encoded name, then by encoded value, both encoded anew.
func appendQuery(b []byte, query string) []byte {
	if query == "" {
		return b
	}
	type pair struct{ name, value string }
	var pairs []pair
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		pairs = append(pairs, pair{reencode(name), reencode(value)})
	}
	slices.SortFunc(pairs, func(x, y pair) int {
		if c := strings.Compare(x.name, y.name); c != 0 {
			return c
		}
		return strings.Compare(x.value, y.value)
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p.name...), '='), p.value...)
	}
	return b
}

// reencode brings a part of a query to the one encoding SigV4 knows, whichever way it was sent. A
// plus sign means a space, as in the forms the SDKs' query encoders write.
func reencode(s string) string {
	plain := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			plain = append(plain, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			var c [1]byte
			_, _ = hex.Decode(c[:], []byte{s[i+1], s[i+2]}) // both are hex digits
			plain = append(plain, c[0])
			i += 2
		default:
			plain = append(plain, s[i])
		}
	}
	return string(appendEncoded(nil, string(plain)))
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// appendEncoded percent-encodes every byte of s that RFC 3986 does not call unreserved.
func appendEncoded(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if isAlphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// appendHeader writes a header's values in the order they came, joined by commas. net/http keeps
// Host, and for some requests Content-Length, outside of the header map.
func appendHeader(b []byte, r *http.Request, name string) []byte {
	if name == "host" {
		return appendFolded(b, r.Host)
	}
	values := r.Header[canonicalName(name)]
	if len(values) == 0 && name == "content-length" && r.ContentLength >= 0 {
		return strconv.AppendInt(b, r.ContentLength, 10)
	}
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFolded(b, v)
	}
	return b
}

// canonicalName is http.CanonicalHeaderKey without an allocation for what every SDK signs.
func canonicalName(name string) string {
	switch name {
	case "x-amz-date":
		return "X-Amz-Date"
	case "x-amz-target":
		return "X-Amz-Target"
	case "amz-sdk-invocation-id":
		return "Amz-Sdk-Invocation-Id"
	case "amz-sdk-request":
		return "Amz-Sdk-Request"
	}
	return http.CanonicalHeaderKey(name)
}

// appendFolded trims v and makes one space of each run of white space.
func appendFolded(b []byte, v string) []byte {
	start, space := len(b), false
	for i := range len(v) {
		c := v[i]
		if c == ' ' || c == '\t' {
			space = true
			continue
		}
		if space && len(b) > start {
			b = append(b, ' ')
		}
		space = false
		b = append(b, c)
	}
	return b
}
