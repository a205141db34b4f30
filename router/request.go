package router

import (
	"bytes"
	"net/http"
)

// preface begins an HTTP/2 connection: the part of it that looks like a request (RFC 9113 section 3.4).
//
//nolint:gochecknoglobals // a constant
var preface = []byte("PRI * HTTP/2.0\r\n\r\n")

// request is the header section of a user's request. Its slices point into the buffer it was parsed
// from.
type request struct {
	head

	method []byte
	target []byte // origin-form, or "*"
	host   []byte
	expect bool // 100-continue
}

// hasBody reports whether a body follows.
func (r *request) hasBody() bool { return r.chunked || r.length > 0 }

// parse sets r to the request whose header section b is, the empty line included. It returns 0, or
// the status with which a request that is malformed, ambiguous or too large is refused.
func (r *request) parse(b []byte) (refused int) {
	r.reset()
	r.expect = false
	line, rest, ok := nextLine(b)
	if !ok {
		return http.StatusBadRequest
	}
	var version []byte
	if r.method, r.target, version, ok = requestLine(line); !ok {
		return http.StatusBadRequest
	}
	switch string(version) {
	case "HTTP/1.1":
		r.minor = 1
	case "HTTP/1.0":
		r.minor = 0
	default:
		if len(version) == 8 && bytes.HasPrefix(version, []byte("HTTP/")) {
			return http.StatusHTTPVersionNotSupported
		}
		return http.StatusBadRequest
	}
	if !r.parseFields(rest, maxFields) {
		if len(r.fields) == maxFields {
			return http.StatusRequestHeaderFieldsTooLarge
		}
		return http.StatusBadRequest
	}
	if !r.framing() {
		return http.StatusBadRequest
	}
	if r.minor == 0 {
		r.upgrade = nil // RFC 9110 section 7.8
	}
	return r.checkMeaning()
}

// requestLine splits a request line: three words with one space between each (RFC 9112 section 3).
func requestLine(line []byte) (method, target, version []byte, ok bool) {
	i := bytes.IndexByte(line, ' ')
	j := bytes.LastIndexByte(line, ' ')
	if i < 1 || j <= i+1 {
		return nil, nil, nil, false
	}
	method, target, version = line[:i], line[i+1:j], line[j+1:]
	return method, target, version, allOf(method, tokenByte) && allOf(target, targetByte)
}

// checkMeaning looks at target, Host and Expect.
func (r *request) checkMeaning() (refused int) {
	r.host = nil
	hosts := 0
	for i := range r.fields {
		switch f := &r.fields[i]; f.kind {
		case hostField:
			hosts++
			r.host = f.value
		case expectField:
			if !foldEqual(f.value, "100-continue") {
				return http.StatusExpectationFailed
			}
			r.expect = r.minor == 1 // an HTTP/1.0 user would not understand the answer
		case trailerField:
			if !eachOption(f.value, validToken) {
				return http.StatusBadRequest
			}
		default:
		}
	}
	if hosts > 1 || hosts == 0 && r.minor == 1 || !allOf(r.host, hostByte) {
		return http.StatusBadRequest
	}
	if string(r.method) == http.MethodConnect {
		return http.StatusMethodNotAllowed
	}
	if !r.originForm() {
		return http.StatusBadRequest
	}
	return 0
}

// originForm brings the target into the form the instance gets and reports whether it is legal. An
// absolute-form target must name the host that Host names: a reader that believes the one would
// route otherwise than a reader that believes the other.
func (r *request) originForm() bool {
	t := r.target
	if t[0] == '*' {
		return len(t) == 1 && string(r.method) == http.MethodOptions
	}
	if t[0] != '/' {
		rest, ok := cutScheme(t)
		if !ok {
			return false
		}
		end := bytes.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 || !foldEqualBytes(rest[:end], r.host) {
			return false
		}
		switch t = rest[end:]; {
		case len(t) == 0 && string(r.method) == http.MethodOptions:
			t = []byte("*") // RFC 9112 section 3.2.4
		case len(t) == 0 || t[0] == '?':
			t = append([]byte("/"), t...)
		}
		r.target = t
	}
	return validPath(r.target)
}

func cutScheme(t []byte) ([]byte, bool) {
	i := bytes.IndexByte(t, ':')
	if i < 0 || !foldEqual(t[:i], "http") && !foldEqual(t[:i], "https") || !bytes.HasPrefix(t[i:], []byte("://")) {
		return nil, false
	}
	return t[i+3:], true
}

// validPath reports whether the path of an origin-form target escapes properly: what it means is
// otherwise each reader's own idea. Queries pass as they are.
func validPath(t []byte) bool {
	if q := bytes.IndexByte(t, '?'); q >= 0 {
		t = t[:q]
	}
	for {
		i := bytes.IndexByte(t, '%')
		if i < 0 {
			return true
		}
		if len(t) < i+3 || !allOf(t[i+1:i+3], hexByte) {
			return false
		}
		t = t[i+3:]
	}
}
