package router

import (
	"bytes"
	"net/http"
)

const (
	maxFields  = 100 // of a request; Envoy's limit
	maxAnswer  = 500 // fields of a response
	maxOptions = 16  // of the Connection fields of a message
)

// head is what the header sections of requests and responses have in common.
type head struct {
	fields  []field
	listed  [][]byte // names of fields that Connection declares to be for this hop only
	minor   byte     // of HTTP/1.x
	length  int64    // Content-Length; -1: there was none
	chunked bool
	close   bool   // Connection: close
	keep    bool   // Connection: keep-alive
	upgrade []byte // value of Upgrade when Connection names it; nil otherwise
}

// reset forgets the head before, but keeps its memory.
func (h *head) reset() {
	h.fields, h.listed = h.fields[:0], h.listed[:0]
	h.length, h.chunked, h.close, h.keep, h.upgrade = -1, false, false, false, nil
}

// nextLine returns the first line of b without its CRLF, and the rest. A line that ends otherwise is
// none: who reads a bare LF or CR as a line's end would see another message.
func nextLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, false
	}
	return b[:i-1], b[i+1:], true
}

// parseFields parses the lines of a header or trailer section, up to the empty one, and reports
// whether they are well-formed and few enough. Names keep their case.
func (h *head) parseFields(b []byte, most int) bool {
	for {
		line, rest, ok := nextLine(b)
		if !ok {
			return false
		}
		if len(line) == 0 {
			return len(rest) == 0
		}
		b = rest
		colon := bytes.IndexByte(line, ':')
		// A line that continues the one before begins with white space, which is no token; nor is a
		// name with white space before the colon. Both are ways to hide a field.
		if colon < 1 || !allOf(line[:colon], tokenByte) || len(h.fields) == most {
			return false
		}
		value := trimSpace(line[colon+1:])
		if !validValue(value) {
			return false
		}
		h.fields = append(h.fields, field{name: line[:colon], value: value, kind: kindOf(line[:colon])})
	}
}

// framing works out how long the message's body is and what becomes of the connection. It returns
// false for everything two readers could disagree about.
func (h *head) framing() bool {
	var upgrade []byte
	wantsUpgrade := false
	for i := range h.fields {
		f := &h.fields[i]
		switch f.kind {
		case lengthField:
			n, ok := parseLength(f.value)
			if !ok || h.length >= 0 {
				return false
			}
			h.length = n
		case codingField:
			if h.chunked || !foldEqual(f.value, "chunked") {
				return false
			}
			h.chunked = true
		case connectionField:
			up, ok := h.options(f.value)
			if !ok {
				return false
			}
			wantsUpgrade = wantsUpgrade || up
		case upgradeField:
			if upgrade != nil {
				return false
			}
			upgrade = f.value
		default:
		}
	}
	if wantsUpgrade && len(upgrade) > 0 {
		h.upgrade = upgrade
	}
	return !h.chunked || h.length < 0 && h.minor == 1
}

// options takes in the value of a Connection field.
func (h *head) options(value []byte) (upgrade, ok bool) {
	ok = eachOption(value, func(option []byte) bool {
		switch {
		case foldEqual(option, "close"):
			h.close = true
		case foldEqual(option, "keep-alive"):
			h.keep = true
		case foldEqual(option, "upgrade"):
			upgrade = true
		case len(h.listed) == maxOptions || !validToken(option):
			return false
		default:
			h.listed = append(h.listed, option)
		}
		return true
	})
	return upgrade, ok
}

// forHop reports whether Connection declares the field to be for this hop only.
func (h *head) forHop(name []byte) bool {
	for _, listed := range h.listed {
		if foldEqualBytes(listed, name) {
			return true
		}
	}
	return false
}

// keepsAlive reports whether the sender keeps its connection open (RFC 9112 section 9.3).
func (h *head) keepsAlive() bool { return !h.close && (h.minor == 1 || h.keep) }

// headEnd returns the length of the header section that b begins with, 0 when its end has not come
// yet, and -1 when a line of it ends in a bare LF. scanned bytes are known to hold no end.
func headEnd(b []byte, scanned int) int {
	from := max(0, scanned-3)
	if i := bytes.Index(b[from:], crlfcrlf); i >= 0 {
		return from + i + len(crlfcrlf)
	}
	for at := from; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return 0
		}
		if at += i; at == 0 || b[at-1] != '\r' {
			return -1
		}
		at++
	}
}

//nolint:gochecknoglobals // constants
var (
	crlfcrlf = []byte("\r\n\r\n")
	preface  = []byte("PRI * HTTP/2.0\r\n\r\n") // RFC 9113 section 3.4, the part that looks like a request
)

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

// response is the header section of an instance's response.
type response struct {
	head

	status int
	reason []byte
}

// parse sets r to the response whose header section b is and reports whether it can be trusted.
func (r *response) parse(b []byte) bool {
	r.reset()
	line, rest, ok := nextLine(b)
	const version = len("HTTP/1.x ")
	if !ok || len(line) < version+3 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return false
	}
	r.minor = line[7] - '0'
	r.status = 0
	for _, c := range line[version : version+3] {
		if c < '0' || c > '9' {
			return false
		}
		r.status = 10*r.status + int(c-'0')
	}
	r.reason = line[version+3:]
	if len(r.reason) > 0 {
		if r.reason[0] != ' ' {
			return false
		}
		r.reason = r.reason[1:]
	}
	return r.status >= 100 && r.status <= 599 && validValue(r.reason) && r.parseFields(rest, maxAnswer) && r.framing()
}

// bodyless reports whether the response to the method has no body whatever its fields say (RFC 9112
// section 6.3).
func (r *response) bodyless(method []byte) bool {
	return r.status < 200 || r.status == http.StatusNoContent || r.status == http.StatusNotModified ||
		string(method) == http.MethodHead
}
