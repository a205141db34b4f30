package router

import "bytes"

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

//nolint:gochecknoglobals // a constant
var crlfcrlf = []byte("\r\n\r\n")
