package router

import (
	"context"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// standard has the standard library's path answer the request in c.work, because of the instance: it
// speaks HTTP/2. What the user sent has been checked as strictly as ever.
func (c *userConn) standard() {
	x := &c.ride
	x.standard = true
	ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, c.tcp.LocalAddr())
	// That there is a server has the reverse proxy panic where an answer is cut short.
	ctx, cancel := context.WithCancelCause(context.WithValue(ctx, http.ServerContextKey, c.relay.standard.server))
	defer cancel(nil)
	give := func() { cancel(c.why(phase(c.state.Load() & phaseBits))) }
	c.giveUp.Store(&give)
	defer c.giveUp.Store(nil)
	// The limit of the request is the other path's to keep.
	if !c.enter(phaseExchange, x.limit+int64(answerSlack)) {
		x.keep = false
		return
	}
	req, body, err := c.standardRequest(ctx)
	if err != nil {
		x.keep = false
		return
	}
	res := &responder{conn: c, header: http.Header{}, method: req.Method, body: body, cancel: cancel}
	cut := res.serve(req) || res.finish() != nil
	if body != nil {
		_ = body.Close() // always nil
		x.bodyLeft = !body.whole.Load()
	}
	if cut || c.fate() != 0 {
		x.keep = false
		c.reset = cut && res.untilEnd // or it would look complete
	}
}

// serve has the request answered, and reports whether the answer was cut short.
func (r *responder) serve(req *http.Request) (cut bool) {
	defer func() {
		switch reason := recover(); reason {
		case nil:
		case http.ErrAbortHandler:
			cut = true
		default:
			panic(reason)
		}
	}()
	r.conn.relay.proxy.ServeHTTP(r, req)
	return false
}

// standardRequest returns the request as net/http's server would have made it, and its body, if it has one.
func (c *userConn) standardRequest(ctx context.Context) (*http.Request, *userBody, error) {
	w := c.work
	r := &w.req
	target := string(r.target)
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, nil, err
	}
	req := &http.Request{
		Method: string(r.method), URL: u, RequestURI: target, Host: string(r.host), RemoteAddr: c.tcp.RemoteAddr().String(),
		Proto: "HTTP/1." + strconv.Itoa(int(r.minor)), ProtoMajor: 1, ProtoMinor: int(r.minor),
		Header: make(http.Header, len(r.fields)), ContentLength: max(r.length, 0), Body: http.NoBody,
	}
	for i := range r.fields {
		f := &r.fields[i]
		switch f.kind {
		case hostField, lengthField, codingField, upgradeField, trailerField:
			continue
		default:
			req.Header.Add(string(f.name), string(f.value))
		}
	}
	var body *userBody
	if c.ride.bodyLeft {
		body = &userBody{conn: c, left: r.length}
		if r.chunked {
			req.ContentLength = -1
			w.upload.reset(false)
			body.trailer = r.announced()
			req.Trailer = body.trailer
		}
		req.Body = body
	}
	if c.secure {
		req.TLS = c.tlsState()
	}
	return req.WithContext(ctx), body, nil
}

// announced returns the fields that the request's trailer is to have, without values. Net/http sends none
// that is not announced.
func (r *request) announced() http.Header {
	h := http.Header{}
	for i := range r.fields {
		if r.fields[i].kind != trailerField {
			continue
		}
		eachOption(r.fields[i].value, func(name []byte) bool {
			if validToken(name) && kindOf(name) == plainField {
				h[textproto.CanonicalMIMEHeaderKey(string(name))] = nil
			}
			return true
		})
	}
	return h
}

// userBody is the body of a request on the standard library's path. The transport reads it in a goroutine
// of its own, which may go on when the request is over.
type userBody struct {
	conn    *userConn
	left    int64       // of a body with a length
	trailer http.Header // filled in at the end of a chunked one
	whole   atomic.Bool // all of it was read
	close   sync.Once

	reading sync.Mutex // held by Read; guards err, and what of the work belongs to the body
	err     error      // io.EOF once all of it was read

	inviting sync.Mutex // guards answered
	answered bool       // the response's header was sent, or is being sent
}

// Read implements io.Reader.
func (b *userBody) Read(p []byte) (int, error) {
	b.reading.Lock()
	defer b.reading.Unlock()
	c := b.conn
	x, w := &c.ride, c.work
	for b.err == nil && len(p) > 0 {
		if w.have == x.used {
			if b.err = b.receive(); b.err != nil {
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
			b.end()
		}
		if kept > 0 {
			return kept, nil
		}
	}
	return 0, b.err
}

// receive reads more of the body, of which all that had come has been used.
func (b *userBody) receive() error {
	c := b.conn
	x, w := &c.ride, c.work
	if w.req.expect {
		w.req.expect = false
		if err := b.invite(); err != nil {
			return err
		}
	}
	w.have, x.used = w.headLen, w.headLen
	if len(w.in)-w.headLen < userBufferBytes/2 { // the header section may fill all of it
		w.in = append(w.in, make([]byte, userBufferBytes)...)
	}
	c.uploadBy.Store(c.relay.watch.soon() + int64(c.relay.cfg.StallLimit))
	n, err := c.conn.Read(w.in[w.headLen:])
	c.uploadBy.Store(0)
	if w.have += n; n == 0 && err != nil {
		return errUserBody
	}
	return nil
}

// invite has the user send the body it announced, unless it has been answered without it.
func (b *userBody) invite() error {
	b.inviting.Lock()
	defer b.inviting.Unlock()
	if b.answered {
		return nil
	}
	if _, err := io.WriteString(b.conn.conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
		return errUserGone
	}
	return nil
}

// end notes that all of the body was read.
func (b *userBody) end() {
	b.err = io.EOF
	d := &b.conn.work.upload
	if len(b.trailer) > 0 && len(d.trailer) > 2 {
		var h head
		h.parseFields(d.trailer, maxFields) // checked when it was complete
		for _, f := range h.fields {
			name := textproto.CanonicalMIMEHeaderKey(string(f.name))
			if _, ok := b.trailer[name]; ok {
				b.trailer[name] = append(b.trailer[name], string(f.value))
			}
		}
	}
	b.whole.Store(true)
}

// Close ends a Read that goes on, and all that come. When it returns the body is not touched any more.
func (b *userBody) Close() error {
	b.close.Do(func() {
		c := b.conn
		if !b.reading.TryLock() {
			_ = c.tcp.SetReadDeadline(time.Unix(1, 0)) // if it is closed, Read has ended
			b.reading.Lock()
			if c.fate() == 0 {
				_ = c.tcp.SetReadDeadline(time.Time{})
			}
		}
		defer b.reading.Unlock()
		if b.err == nil {
			b.err = errUserBody
		}
	})
	return nil
}

// responder is the http.ResponseWriter of a request on the standard library's path.
type responder struct {
	conn     *userConn
	header   http.Header
	method   string
	body     *userBody // of the request; nil: it has none
	status   int
	bodyless bool
	chunked  bool
	untilEnd bool  // of the connection
	left     int64 // of a body with a length; -1: it has none
	trailer  []string
	cancel   context.CancelCauseFunc // ends the request
	err      error
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
			for _, name := range []string{"Connection", "Content-Length", "Transfer-Encoding"} {
				delete(r.header, name) // there is nothing that they could be about
			}
			r.send(append(r.appendHeader(appendReason(nil, 1, status)), "\r\n"...))
		}
		return
	}
	r.status, r.left = status, -1
	c.ride.started, c.ride.status = true, status
	if r.body != nil {
		r.body.inviting.Lock()
		r.body.answered = true
		r.body.inviting.Unlock()
	}
	r.bodyless = status == http.StatusNoContent || status == http.StatusNotModified || r.method == http.MethodHead
	if n, ok := parseLength([]byte(r.header.Get("Content-Length"))); ok && !r.bodyless {
		r.left = n
	}
	unended := !r.bodyless && r.left < 0
	r.chunked, r.untilEnd = unended && w.req.minor == 1, unended && w.req.minor == 0
	if r.untilEnd || r.body != nil && !r.body.whole.Load() || c.relay.closing.Load() ||
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
	r.send(append(c.appendPersistence(out), "\r\n"...))
}

// send sends bytes to the user. From then on it is the instance's turn.
func (r *responder) send(b []byte) {
	c := r.conn
	r.err = c.toUser(b)
	limit := min(c.ride.limit+int64(answerSlack), c.relay.watch.soon()+int64(c.relay.cfg.StreamLimit))
	if r.err == nil && !c.enter(phaseExchange, limit) {
		r.err = c.ended()
	}
	if r.err != nil {
		r.cancel(r.err)
	}
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
		r.send(append(out, "\r\n"...))
	case r.bodyless:
		return 0, http.ErrBodyNotAllowed // what followed would be taken for the next response
	case r.left >= 0 && int64(len(p)) > r.left:
		return 0, http.ErrContentLength
	default:
		r.left = max(r.left-int64(len(p)), -1)
		r.send(p)
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
			out = appendTrailer(out, name, r.header[name])
		}
	}
	for name, values := range r.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			out = appendTrailer(out, name, values)
		}
	}
	return r.conn.toUser(append(out, "\r\n"...))
}

// appendTrailer appends the fields of a trailer that have no rule of their own, as chunks.appendEnd does.
func appendTrailer(dst []byte, name string, values []string) []byte {
	if kindOf([]byte(name)) != plainField {
		return dst
	}
	for _, v := range values {
		dst = appendField(dst, []byte(name), []byte(v))
	}
	return dst
}
