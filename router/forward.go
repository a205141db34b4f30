package router

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// appendRequest appends the header section the instance gets for the user's request. It sees
// end-to-end fields as they are, and what the router says about the user.
func (c *userConn) appendRequest(dst []byte, set *backendSet) []byte {
	r := &c.work.req
	dst = append(dst, r.method...)
	dst = append(dst, ' ')
	dst = append(dst, r.target...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, r.host...)
	dst = append(dst, "\r\nX-Forwarded-For: "...)
	dst = r.appendForwarded(dst)
	dst = append(dst, c.client...)
	dst = append(dst, "\r\n"...)
	hasID, hasTE := false, false
	for i := range r.fields {
		f := &r.fields[i]
		switch f.kind {
		case hopField, replacedField, connectionField, hostField, codingField, upgradeField, forwardedForField:
			continue
		case requestIDField:
			if hasID || len(f.value) == 0 || r.forHop(f.name) {
				continue
			}
			hasID = true
			c.noteRequestID(set, f.value)
		case teField:
			if !hasTE && !eachOption(f.value, func(option []byte) bool { return !foldEqual(option, "trailers") }) {
				hasTE = true
				dst = append(dst, "Te: trailers\r\n"...)
			}
			continue
		case lengthField:
			if r.length > 0 || !noBodyExpected(r.method) {
				dst = appendLength(dst, f.name, r.length)
			}
			continue
		case expectField:
			if !r.expect {
				continue
			}
		case trailerField:
			if !r.chunked {
				continue
			}
		default:
			if len(r.listed) > 0 && r.forHop(f.name) {
				continue
			}
		}
		dst = appendField(dst, f.name, f.value)
	}
	switch {
	case r.chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case r.length < 0 && !noBodyExpected(r.method):
		dst = append(dst, "Content-Length: 0\r\n"...)
	}
	if r.upgrade != nil {
		dst = append(dst, "Connection: Upgrade\r\n"...)
		dst = appendField(dst, []byte("Upgrade"), r.upgrade)
	}
	if !hasID {
		dst = append(dst, "X-Request-Id: "...)
		dst = appendRequestID(dst)
		c.noteRequestID(set, dst[len(dst)-requestIDLen:])
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, c.forwarded...)
	dst = append(dst, "X-Envoy-Expected-Rq-Timeout-Ms: "...)
	dst = strconv.AppendInt(dst, set.requestTimeout.Milliseconds(), 10)
	return append(dst, "\r\n\r\n"...)
}

// noteRequestID keeps the request's id for its record.
func (c *userConn) noteRequestID(set *backendSet, id []byte) {
	if set.options.AccessLog {
		c.requestID = append(c.requestID[:0], id...)
	}
}

// appendLength appends a Content-Length in the one form that nobody reads as octal.
func appendLength(dst, name []byte, n int64) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, "\r\n"...)
}

// noBodyExpected reports whether a request without a body needs no Content-Length (RFC 9110 section
// 8.6).
func noBodyExpected(method []byte) bool {
	switch string(method) {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return false
	}
	return true
}

// appendForwarded appends the addresses that came in X-Forwarded-For, each with a comma behind it.
func (r *request) appendForwarded(dst []byte) []byte {
	for i := range r.fields {
		if f := &r.fields[i]; f.kind == forwardedForField {
			dst = append(append(dst, f.value...), ", "...)
		}
	}
	return dst
}

// appendConnection appends the fields that every request of a connection gets.
func appendConnection(dst []byte, client, port string, secure bool) []byte {
	dst = append(dst, "X-Forwarded-Proto: http"...)
	if secure {
		dst = append(dst, 's')
	}
	dst = append(append(dst, "\r\nX-Forwarded-Port: "...), port...)
	dst = append(append(dst, "\r\nX-Envoy-External-Address: "...), client...)
	return append(dst, "\r\n"...)
}

const requestIDLen = 36

// appendRequestID appends a random UUID (RFC 9562 version 4), the form Envoy uses.
func appendRequestID(dst []byte) []byte {
	//nolint:gosec // it joins log lines; whoever guesses one learns nothing by it
	a, z := rand.Uint64(), rand.Uint64()
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(a>>(8*i)), byte(z>>(8*i))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	dst = append(hex.AppendEncode(dst, b[0:4]), '-')
	dst = append(hex.AppendEncode(dst, b[4:6]), '-')
	dst = append(hex.AppendEncode(dst, b[6:8]), '-')
	dst = append(hex.AppendEncode(dst, b[8:10]), '-')
	return hex.AppendEncode(dst, b[10:])
}

// bodyKind is how a response's body is delimited, as it comes or as it is passed on.
type bodyKind uint8

const (
	noBody    bodyKind = iota
	lengthed           // Content-Length
	chunkedBy          // chunked coding
	untilEnd           // the end of the connection
)

// body returns how the response to the method is delimited (RFC 9112 section 6.3).
func (r *response) body(method []byte) bodyKind {
	switch {
	case r.bodyless(method):
		return noBody
	case r.chunked:
		return chunkedBy
	case r.length >= 0:
		return lengthed
	default:
		return untilEnd
	}
}

// passedOn returns how a body is delimited for a user who speaks HTTP/1.minor: 1.0 has no chunks, and
// 1.1 goes on with the connection where they are used.
func (k bodyKind) passedOn(minor byte) bodyKind {
	switch {
	case k == chunkedBy && minor == 0:
		return untilEnd
	case k == untilEnd && minor == 1:
		return chunkedBy
	default:
		return k
	}
}

// appendResponse appends the header section the user gets for the instance's response, whose body is
// passed on as kind says.
func (c *userConn) appendResponse(dst []byte, kind bodyKind) []byte {
	w := c.work
	res, req := &w.res, &w.req
	dst = appendStatus(dst, req.minor, res.status)
	dst = append(dst, res.reason...)
	dst = append(dst, "\r\n"...)
	dated := res.status < http.StatusOK
	for i := range res.fields {
		f := &res.fields[i]
		switch f.kind {
		case hopField, replacedField, connectionField, codingField, upgradeField, teField:
			continue
		case lengthField:
			if kind != lengthed && (kind != noBody || res.status < http.StatusOK || res.status == http.StatusNoContent) {
				continue
			}
			dst = appendLength(dst, f.name, res.length)
			continue
		case trailerField:
			if kind != chunkedBy && (kind != noBody || !res.chunked || req.minor == 0) {
				continue
			}
		case dateField:
			if dated {
				continue
			}
			dated = true
		default:
			if len(res.listed) > 0 && res.forHop(f.name) {
				continue
			}
		}
		dst = appendField(dst, f.name, f.value)
	}
	if kind == chunkedBy {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	if res.status < http.StatusOK && res.status != http.StatusSwitchingProtocols {
		return append(dst, "\r\n"...)
	}
	if !dated {
		dst = appendDate(dst, c.relay.clock())
	}
	dst = append(dst, "Server: "+serverName+"\r\nX-Envoy-Upstream-Service-Time: "...)
	dst = strconv.AppendInt(dst, c.ride.upstream/int64(time.Millisecond), 10)
	dst = append(dst, "\r\n"...)
	return append(c.appendPersistence(dst), "\r\n"...)
}

// appendPersistence tells the user what becomes of its connection, where that is not what its
// version of HTTP supposes.
func (c *userConn) appendPersistence(dst []byte) []byte {
	minor := c.work.req.minor
	switch {
	case c.work.res.status == http.StatusSwitchingProtocols && c.ride.started:
	case !c.ride.keep && minor == 1:
		dst = append(dst, "Connection: close\r\n"...)
	case c.ride.keep && minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return dst
}

func appendStatus(dst []byte, minor byte, status int) []byte {
	dst = append(dst, "HTTP/1."...)
	dst = append(dst, '0'+minor, ' ')
	dst = strconv.AppendInt(dst, int64(status), 10)
	return append(dst, ' ')
}

func appendDate(dst []byte, now time.Time) []byte {
	dst = append(dst, "Date: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	return append(dst, "\r\n"...)
}

// appendAnswer appends the header section of an answer of the router's own with a body of the length
// of text, less the empty line at its end.
func appendAnswer(dst []byte, minor byte, status int, text string, now time.Time) []byte {
	dst = appendStatus(dst, minor, status)
	dst = append(dst, http.StatusText(status)...)
	dst = append(dst, "\r\n"...)
	dst = appendDate(dst, now)
	dst = append(dst, "Server: "+serverName+"\r\n"...)
	if text != "" {
		dst = append(dst, "Content-Type: text/plain\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	return append(dst, "\r\n"...)
}
