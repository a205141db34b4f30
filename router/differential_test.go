package router_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/router"
)

// The relay and the standard library's server and proxy answer the same requests in the same way,
// and show the instance the same. Where a request can be read in two ways the relay may refuse what
// the standard library takes, never the other way round.

// rawInstance is an instance that notes what it was sent and answers with the bytes it is told to.
type rawInstance struct {
	testing.TB
	ln net.Listener

	mu   sync.Mutex // guards seen
	seen map[string]string
}

func newRawInstance(t testing.TB) *rawInstance {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &rawInstance{TB: t, ln: ln, seen: map[string]string{}}
	var serving sync.WaitGroup
	conns := make(chan net.Conn)
	serving.Go(func() {
		defer close(conns)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { in.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return in
}

func (in *rawInstance) backend(id apron.InstanceID) apron.Backend {
	return at(id, in.ln.Addr().String())
}

func (in *rawInstance) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		announced := req.Trailer.Clone()
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		for name := range req.Trailer {
			if _, ok := announced[name]; !ok {
				delete(req.Trailer, name) // the standard library sends only those
			}
		}
		in.note(req, body)
		answer, ok := rawAnswers()[req.Header.Get("X-Answer")]
		if !ok {
			answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		}
		if req.Method == http.MethodHead {
			head, rest, _ := strings.Cut(answer, "\r\n\r\n")
			if strings.HasPrefix(head, "HTTP/1.1 103") {
				final, _, _ := strings.Cut(rest, "\r\n\r\n")
				head += "\r\n\r\n" + final
			}
			answer = head + "\r\n\r\n"
		}
		ends := ok && strings.HasPrefix(req.Header.Get("X-Answer"), "end-") && req.Method != http.MethodHead
		if _, err := io.WriteString(c, answer); err != nil || ends {
			return
		}
	}
}

// note keeps what the request looks like, under its name.
func (in *rawInstance) note(req *http.Request, body []byte) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s host=%s %s te=%v\n", req.Method, req.RequestURI, req.Host, req.Proto, req.TransferEncoding)
	h := req.Header.Clone()
	h.Del("X-Forwarded-Port")
	h.Del("Expect") // the relay leaves it out when the body has come already
	if agents := h["User-Agent"]; len(agents) > 1 {
		h["User-Agent"] = agents[:1] // as the standard library does
	}
	if len(h.Get("X-Request-Id")) == 36 {
		h.Set("X-Request-Id", "made")
	}
	for _, name := range slices.Sorted(mapKeys(h)) {
		fmt.Fprintf(&b, "%s: %q\n", name, h[name])
	}
	fmt.Fprintf(&b, "body %q\n", body)
	for _, name := range slices.Sorted(mapKeys(req.Trailer)) {
		fmt.Fprintf(&b, "trailer %s: %q\n", name, req.Trailer[name])
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.seen[req.Header.Get("X-Name")] = b.String()
}

func (in *rawInstance) take(name string) string {
	in.mu.Lock()
	defer in.mu.Unlock()
	s := in.seen[name]
	delete(in.seen, name)
	return s
}

func mapKeys(h http.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range h {
			if !yield(k) {
				return
			}
		}
	}
}

// rawAnswers are well-formed responses. Those whose name begins with "end-" end the connection.
func rawAnswers() map[string]string {
	return map[string]string{
		"plain":     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
		"empty":     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"none":      "HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
		"unchanged": "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n",
		"redirect":  "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
		"error":     "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops",
		"chunks":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
		"trailers":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n",
		"late":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n",
		"hops":      "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 1\r\nContent-Length: 1\r\n\r\nx",
		"cookies":   "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: app\r\nContent-Length: 1\r\n\r\nx",
		"hints":     "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
		"end-close": "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbye",
		"end-eof":   "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil the end",
		"end-old":   "HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nuntil the end",
		"end-old-n": "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
		"odd-code":  "HTTP/1.1 299 Odd\r\nContent-Length: 1\r\n\r\nx",
	}
}

// generate returns a request that is well-formed.
func generate(rnd *rand.Rand, name string) (method string, request []byte) {
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	answers := slices.Collect(func(yield func(string) bool) {
		for k := range rawAnswers() {
			if !yield(k) {
				return
			}
		}
	})
	slices.Sort(answers)
	method = pick("GET", "GET", "GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW")
	var b bytes.Buffer
	minor := 1
	if rnd.IntN(8) == 0 {
		minor = 0
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.%d\r\n", method,
		pick("/", "/a/b", "/a%2Fb", "/a?b=c", "/?%zz", "/a//b/../c", "/a;b=c?d&e", "/~x/y!$&'()*+,=:@", "/a\"b", "/%7e", "/x?a b"[:4]), minor)
	fmt.Fprintf(&b, "%s: %s\r\n", pick("Host", "host", "HOST"), pick("web.example.com", "WEB.example.com", "web.example.com:80", "web.example.com."))
	fmt.Fprintf(&b, "X-Name: %s\r\nX-Answer: %s\r\n", name, answers[rnd.IntN(len(answers))])
	for _, line := range []string{
		"User-Agent: test/1", "Accept: */*", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: evil", "X-Request-Id: mine",
		"Connection: keep-alive", "Connection: close", "Connection: X-Hop", "X-Hop: 1", "Cookie: a=b; c=d", "Accept-Encoding: gzip",
		"TE: trailers", "Te: gzip", "Keep-Alive: 5", "Proxy-Authorization: x", "Authorization: Basic eA==", "X-Empty:",
		"X-Space: \t padded \t", "X-High: \xe4\xff", "Forwarded: for=x", "Referer: http://x/", "x-lower: 1", "X-Twice: a", "X-Twice: b",
		"Content-Type: text/x", "Cache-Control: no-cache", "Origin: http://x", "X-Forwarded-For: 192.0.2.2",
	} {
		if line == "Connection: close" && bytes.Contains(b.Bytes(), []byte("keep-alive")) {
			continue // the standard library has HTTP/1.0 users keep the connection
		}
		if rnd.IntN(5) == 0 {
			b.WriteString(line + "\r\n")
		}
	}
	body := strings.Repeat("body ", rnd.IntN(5))
	switch kind := rnd.IntN(4); {
	case kind == 0 && minor == 1 && method != "HEAD":
		trailer := ""
		if rnd.IntN(2) == 0 {
			b.WriteString("Trailer: X-T\r\n")
			trailer = "X-T: 1\r\n"
		}
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if body != "" {
			fmt.Fprintf(&b, "%x%s\r\n%s\r\n", len(body), pick("", "", ";ext=1"), body)
		}
		b.WriteString("0\r\n" + trailer + "\r\n")
	case kind == 1 && method != "HEAD":
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	default:
		b.WriteString("\r\n")
	}
	return method, b.Bytes()
}

// mutate damages a request in a way that readers are known to disagree about, or at random.
func mutate(rnd *rand.Rand, request []byte) []byte {
	r := bytes.Clone(request)
	for range 1 + rnd.IntN(2) {
		lines := bytes.SplitAfter(r, []byte("\n"))
		at := rnd.IntN(len(r))
		switch rnd.IntN(9) {
		case 0:
			r[at] ^= 1 << rnd.IntN(8)
		case 1:
			r = slices.Insert(r, at, byte(rnd.IntN(256)))
		case 2:
			r = slices.Delete(r, at, at+1)
		case 3:
			i := rnd.IntN(len(lines))
			r = bytes.Join(slices.Insert(lines, i, lines[rnd.IntN(len(lines))]), nil)
		case 4:
			r = bytes.Replace(r, []byte("\r\n"), []byte("\n"), 1)
		case 5:
			r = bytes.Replace(r, []byte(": "), []byte([]string{" : ", ":", ":\t", "\t: "}[rnd.IntN(4)]), 1+rnd.IntN(4))
		case 6:
			extra := []string{
				"Content-Length: 3\r\n", "Content-Length: +3\r\n", "Content-Length: 3, 3\r\n", "Transfer-Encoding: chunked\r\n",
				"Transfer-Encoding: identity\r\n", "Transfer-Encoding: chunked, chunked\r\n", " folded\r\n", "Host: other\r\n",
				"Expect: 100-continue\r\n", "Expect: x\r\n", "Connection: Content-Length\r\n", "Connection: Host\r\n",
			}
			i := bytes.IndexByte(r, '\n') + 1
			r = slices.Insert(r, i, []byte(extra[rnd.IntN(len(extra))])...)
		case 7:
			i := rnd.IntN(len(lines))
			r = bytes.Join(slices.Delete(lines, i, i+1), nil)
		case 8:
			r = bytes.Replace(r, []byte(" HTTP/1.1"), []byte([]string{" HTTP/1.2", " HTTP/2.0", "", " http/1.1", "  HTTP/1.1", " HTTP/1.1 "}[rnd.IntN(6)]), 1)
		}
		if len(r) == 0 {
			r = []byte("x")
		}
	}
	return r
}

// exchanged is what became of a request.
type exchanged struct {
	status int // 0: there was no answer
	answer string
	seen   string
	late   bool // the answer did not end in time
}

// exchange sends a request on a connection of its own.
func (b *bench) exchange(in *rawInstance, name, method string, request []byte, limit time.Duration) exchanged {
	conn, err := net.Dial("tcp", b.addrs.HTTP)
	if err != nil {
		b.Error(err)
		return exchanged{}
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write(request); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return exchanged{}
	}
	r := bufio.NewReader(conn)
	var res *http.Response
	informed := ""
	for {
		res, err = http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return exchanged{seen: in.take(name)}
		}
		if res.StatusCode >= 200 {
			break
		}
		if res.StatusCode != http.StatusContinue { // who says that it is the instance's or the proxy's turn
			informed += res.Status + "\n"
		}
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.ProtoMinor == 0 { // the standard library looks at the first Connection field only
		res.Close = true
		res.Header.Del("Connection")
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s%d %s close=%v body %q %v\n", informed, res.StatusCode, res.Proto, res.Close, body, err)
	res.Header.Del("Date")
	res.Header.Del("X-Envoy-Upstream-Service-Time")
	for _, h := range []http.Header{res.Header, res.Trailer} {
		for _, name := range slices.Sorted(mapKeys(h)) {
			fmt.Fprintf(&s, "%s: %q\n", name, h[name])
		}
	}
	return exchanged{
		status: res.StatusCode, answer: s.String(), seen: in.take(name), late: errors.Is(err, os.ErrDeadlineExceeded),
	}
}

func TestBothPathsAnswerAlike(t *testing.T) {
	in := newRawInstance(t)
	relay, standard := start(t, nil), start(t, router.StandardOnly)
	relay.publish(route("web.example.com", in.backend("i1")))
	standard.publish(route("web.example.com", in.backend("i1")))
	const n = 3000
	var users sync.WaitGroup
	work := make(chan int)
	for range 16 {
		users.Go(func() {
			for i := range work {
				compare(t, in, relay, standard, i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	users.Wait()
}

func compare(t *testing.T, in *rawInstance, relay, standard *bench, i int) {
	rnd := rand.New(rand.NewPCG(1, uint64(i)))
	name := fmt.Sprintf("n%d-%08x", i, rnd.Uint32()) // no mutation makes another's
	method, request := generate(rnd, name)
	mutated := i%2 == 1
	if mutated {
		request = mutate(rnd, request)
		method, _, _ = strings.Cut(string(request), " ")
	}
	limit := 200 * time.Millisecond
	if !mutated {
		limit = waitLimit
	}
	ours := relay.exchange(in, name, method, request, limit)
	if mutated && ours.seen == "" && (ours.status >= 400 || ours.status == 0) {
		return // refused, or not complete
	}
	if ours.status == 0 || ours.late { // only slow
		ours = relay.exchange(in, name, method, request, waitLimit)
	}
	theirs := standard.exchange(in, name, method, request, waitLimit)
	if ours == theirs {
		return
	}
	t.Errorf("request %d %q\nrelay:    %s%s\nstandard: %s%s", i, request, ours.answer, ours.seen, theirs.answer, theirs.seen)
}
