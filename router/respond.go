package router

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// standard has the standard library's path answer the request in c.work, because of the instance: it
// speaks HTTP/2. What the user sent has been checked as strictly as ever.
func (c *userConn) standard() {
	x := &c.ride
	x.standard = true
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), http.LocalAddrContextKey, c.tcp.LocalAddr()))
	defer cancel()
	give := func() { cancel() }
	c.giveUp.Store(&give)
	defer c.giveUp.Store(nil)
	// The limit of the request is the other path's to keep.
	if !c.enter(phaseExchange, x.limit+int64(answerSlack)) {
		x.keep = false
		return
	}
	req, err := c.standardRequest(ctx)
	if err != nil {
		x.keep = false
		return
	}
	res := &responder{conn: c, header: http.Header{}, method: req.Method}
	c.relay.proxy.ServeHTTP(res, req)
	if res.finish() != nil || c.fate() != 0 {
		x.keep = false
	}
}

// standardRequest returns the request as net/http's server would have made it.
func (c *userConn) standardRequest(ctx context.Context) (*http.Request, error) {
	w := c.work
	r := &w.req
	target := string(r.target)
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, err
	}
	req := &http.Request{
		Method: string(r.method), URL: u, RequestURI: target, Host: string(r.host), RemoteAddr: c.tcp.RemoteAddr().String(),
		Proto: "HTTP/1." + strconv.Itoa(int(r.minor)), ProtoMajor: 1, ProtoMinor: int(r.minor),
		Header: make(http.Header, len(r.fields)), ContentLength: max(r.length, 0), Body: http.NoBody,
	}
	for i := range r.fields {
		f := &r.fields[i]
		switch f.kind {
		case hostField, lengthField, codingField, upgradeField:
			continue
		default:
			req.Header.Add(string(f.name), string(f.value))
		}
	}
	if c.ride.bodyLeft {
		if r.chunked {
			req.ContentLength = -1
			w.upload.reset(false)
		}
		req.Body = &userBody{conn: c, left: r.length}
	}
	if c.secure {
		req.TLS = c.tlsState()
	}
	return req.WithContext(ctx), nil
}

// userBody is the body of a request on the standard library's path.
type userBody struct {
	conn *userConn
	left int64 // of a body with a length
	err  error // io.EOF once all of it was read
}

// Read implements io.Reader.
func (b *userBody) Read(p []byte) (int, error) {
	c := b.conn
	x, w := &c.ride, c.work
	for b.err == nil && len(p) > 0 {
		if w.have == x.used {
			if w.req.expect {
				w.req.expect = false
				if _, err := io.WriteString(c.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
					b.err = errUserGone
					break
				}
			}
			w.have, x.used = w.headLen, w.headLen
			c.uploadBy.Store(c.relay.watch.soon() + int64(c.relay.cfg.StallLimit))
			n, err := c.conn.Read(w.in[w.headLen:])
			c.uploadBy.Store(0)
			if w.have += n; n == 0 && err != nil {
				b.err = errUserBody
				break
			}
		}
		n := min(len(p), w.have-x.used)
		copy(p, w.in[x.used:x.used+n])
		var kept, used int
		if w.req.chunked {
			var err error
			if kept, used, err = w.upload.next(p[:n]); err != nil {
				b.err = errUserBody
				break
			}
		} else {
			kept = int(min(int64(n), b.left))
			used = kept
			b.left -= int64(kept)
		}
		x.used += used
		if w.req.chunked && w.upload.done() || !w.req.chunked && b.left == 0 {
			b.err = io.EOF
			x.bodyLeft = false
		}
		if kept > 0 {
			return kept, nil
		}
	}
	return 0, b.err
}

// Close implements io.Closer.
func (b *userBody) Close() error { return nil }

// responder is the http.ResponseWriter of a request on the standard library's path.
type responder struct {
	conn    *userConn
	header  http.Header
	method  string
	status  int
	chunked bool
	left    int64 // of a body with a length; -1: it has none
	trailer []string
	err     error
}

// Header implements http.ResponseWriter.
func (r *responder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *responder) WriteHeader(status int) {
	if r.status != 0 || r.err != nil {
		return
	}
	c := r.conn
	w := c.work
	if status < http.StatusOK {
		if w.req.minor == 1 && status != http.StatusContinue {
			r.err = c.toUser(append(r.appendHeader(appendReason(nil, 1, status)), "\r\n"...))
		}
		return
	}
	r.status, r.left = status, -1
	c.ride.started, c.ride.status = true, status
	bodyless := status == http.StatusNoContent || status == http.StatusNotModified || r.method == http.MethodHead
	if n, err := strconv.ParseInt(r.header.Get("Content-Length"), 10, 64); err == nil && !bodyless {
		r.left = n
	}
	r.chunked = !bodyless && r.left < 0 && w.req.minor == 1
	if !bodyless && r.left < 0 && w.req.minor == 0 || c.ride.bodyLeft || c.relay.closing.Load() ||
		strings.EqualFold(r.header.Get("Connection"), "close") {
		c.ride.keep = false
	}
	r.header.Del("Connection")
	r.trailer = r.header["Trailer"]
	if !r.chunked {
		delete(r.header, "Trailer")
	}
	if status == http.StatusNoContent {
		delete(r.header, "Content-Length")
	}
	out := appendReason(nil, w.req.minor, status)
	if _, ok := r.header["Date"]; !ok {
		out = appendDate(out, c.relay.clock())
	}
	out = r.appendHeader(out)
	if r.chunked {
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	r.err = c.toUser(append(c.appendPersistence(out), "\r\n"...))
}

func appendReason(dst []byte, minor byte, status int) []byte {
	dst = append(appendStatus(dst, minor, status), http.StatusText(status)...)
	return append(dst, "\r\n"...)
}

func (r *responder) appendHeader(dst []byte) []byte {
	for name, values := range r.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		for _, v := range values {
			dst = appendField(dst, []byte(name), []byte(v))
		}
	}
	return dst
}

// Write implements http.ResponseWriter.
func (r *responder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.err != nil {
		return 0, r.err
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case r.chunked:
		out := append(appendChunkSize(r.conn.work.out[:0], len(p)), p...)
		r.err = r.conn.toUser(append(out, "\r\n"...))
	case r.left >= 0 && int64(len(p)) > r.left, r.method == http.MethodHead:
		return 0, http.ErrContentLength
	default:
		r.left = max(r.left-int64(len(p)), -1)
		r.err = r.conn.toUser(p)
	}
	if r.err != nil {
		return 0, r.err
	}
	return len(p), nil
}

// Flush does nothing: nothing is held back.
func (r *responder) Flush() {}

// FlushError does what Flush does.
func (r *responder) FlushError() error { return r.err }

// EnableFullDuplex does nothing: nothing reads ahead.
func (r *responder) EnableFullDuplex() error { return nil }

// SetReadDeadline and SetWriteDeadline are not needed: the watch bounds the connection.

// SetReadDeadline does nothing.
func (r *responder) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (r *responder) SetWriteDeadline(time.Time) error { return nil }

// finish ends the response and returns why the connection cannot go on, or nil.
func (r *responder) finish() error {
	r.WriteHeader(http.StatusOK)
	if r.err != nil {
		return r.err
	}
	if r.left > 0 {
		return errCut
	}
	if !r.chunked {
		return nil
	}
	out := append([]byte(nil), "0\r\n"...)
	for _, names := range r.trailer {
		for name := range strings.SplitSeq(names, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			for _, v := range r.header[name] {
				out = appendField(out, []byte(name), []byte(v))
			}
		}
	}
	for name, values := range r.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			for _, v := range values {
				out = appendField(out, []byte(name), []byte(v))
			}
		}
	}
	return r.conn.toUser(append(out, "\r\n"...))
}
