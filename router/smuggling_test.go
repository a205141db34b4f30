package router_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// dial connects to the router.
func (b *bench) dial() net.Conn {
	b.Helper()
	c, err := net.Dial("tcp", b.addrs.HTTP)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		b.Fatal(err)
	}
	return c
}

// Every request that two readers could understand differently is refused, with nothing sent to the
// instance, and the connection ends: what follows is not looked at.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return // a large body is passed on as it comes, and then not to its end
		}
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Method+" "+r.RequestURI)
	})))
	const host = "Host: web.example.com\r\n"
	const smuggled = "GET /smuggled HTTP/1.1\r\n" + host + "\r\n"
	post := func(fields, body string) string {
		return "POST / HTTP/1.1\r\n" + host + fields + "\r\n" + body + smuggled
	}
	chunked := "Transfer-Encoding: chunked\r\n"
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"length and chunked":             {post("Content-Length: 6\r\n"+chunked, "0\r\n\r\nX"), 400},
		"chunked and length":             {post(chunked+"Content-Length: 6\r\n", "0\r\n\r\nX"), 400},
		"two lengths":                    {post("Content-Length: 0\r\nContent-Length: 5\r\n", "hello"), 400},
		"the same length twice":          {post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400},
		"list of lengths":                {post("Content-Length: 5, 5\r\n", "hello"), 400},
		"signed length":                  {post("Content-Length: +5\r\n", "hello"), 400},
		"negative length":                {post("Content-Length: -5\r\n", "hello"), 400},
		"hexadecimal length":             {post("Content-Length: 0x5\r\n", "hello"), 400},
		"length with underscore":         {post("Content-Length: 5_0\r\n", "hello"), 400},
		"empty length":                   {post("Content-Length: \r\n", "hello"), 400},
		"huge length":                    {post("Content-Length: 99999999999999999999\r\n", "hello"), 400},
		"length in a space":              {post("Content-Length: 5 0\r\n", "hello"), 400},
		"two codings":                    {post(chunked+chunked, "0\r\n\r\n"), 400},
		"chunked twice in one":           {post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400},
		"another coding":                 {post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 400},
		"identity coding":                {post("Transfer-Encoding: identity\r\n", ""), 400},
		"misspelt coding":                {post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400},
		"coding with parameter":          {post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400},
		"quoted coding":                  {post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400},
		"coding with vertical tab":       {post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400},
		"empty coding":                   {post("Transfer-Encoding:\r\nContent-Length: 5\r\n", "hello"), 400},
		"space before the colon":         {post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400},
		"tab before the colon":           {post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"), 400},
		"folded coding":                  {post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400},
		"folded field":                   {post("X-A: b\r\n c\r\n", ""), 400},
		"first field folded":             {"GET / HTTP/1.1\r\n X: y\r\n" + host + "\r\n", 400},
		"bare LF after a field":          {"GET / HTTP/1.1\n" + host + "\r\n", 400},
		"bare LF hides a field":          {post("X-A: b\nContent-Length: 5\r\n", "hello"), 400},
		"bare CR hides a field":          {post("X-A: b\rContent-Length: 5\r\n", "hello"), 400},
		"bare CR before the colon":       {post("X-A\r: b\r\n", ""), 400},
		"LF LF at the end":               {"GET / HTTP/1.1\r\n" + host + "\n", 400},
		"NUL in a value":                 {post("X-A: b\x00c\r\n", ""), 400},
		"NUL in a name":                  {post("X-\x00A: b\r\n", ""), 400},
		"NUL in the target":              {"GET /\x00 HTTP/1.1\r\n" + host + "\r\n", 400},
		"field without name":             {post(": b\r\n", ""), 400},
		"field without colon":            {post("X-A\r\n", ""), 400},
		"space in a name":                {post("X A: b\r\n", ""), 400},
		"no host":                        {"GET / HTTP/1.1\r\nX: y\r\n\r\n", 400},
		"two hosts":                      {"GET / HTTP/1.1\r\n" + host + "Host: other\r\n\r\n", 400},
		"the same host twice":            {"GET / HTTP/1.1\r\n" + host + host + "\r\n", 400},
		"host with a path":               {"GET / HTTP/1.1\r\nHost: web.example.com/x\r\n\r\n", 400},
		"host with a user":               {"GET / HTTP/1.1\r\nHost: a@web.example.com\r\n\r\n", 400},
		"target names another host":      {"GET http://other.example.com/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"target names a host with user":  {"GET http://a@web.example.com/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"target of another scheme":       {"GET ftp://web.example.com/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"target without a slash":         {"GET x HTTP/1.1\r\n" + host + "\r\n", 400},
		"target with a fragment":         {"GET /#x HTTP/1.1\r\n" + host + "\r\n", 400},
		"target with a space":            {"GET /a b HTTP/1.1\r\n" + host + "\r\n", 400},
		"target with a broken escape":    {"GET /%zz HTTP/1.1\r\n" + host + "\r\n", 400},
		"asterisk of another method":     {"GET * HTTP/1.1\r\n" + host + "\r\n", 400},
		"two spaces in the line":         {"GET  / HTTP/1.1\r\n" + host + "\r\n", 400},
		"space behind the version":       {"GET / HTTP/1.1 \r\n" + host + "\r\n", 400},
		"tab in the line":                {"GET\t/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"method that is no token":        {"G(T / HTTP/1.1\r\n" + host + "\r\n", 400},
		"empty line first":               {"\r\nGET / HTTP/1.1\r\n" + host + "\r\n", 400},
		"HTTP/0.9":                       {"GET /\r\n\r\n", 400},
		"lower-case version":             {"GET / http/1.1\r\n" + host + "\r\n", 400},
		"HTTP/1.2":                       {"GET / HTTP/1.2\r\n" + host + "\r\n", 505},
		"HTTP/3.0":                       {"GET / HTTP/3.0\r\n" + host + "\r\n", 505},
		"long version":                   {"GET / HTTP/1.10\r\n" + host + "\r\n", 400},
		"HTTP/1.0 with chunks":           {"POST / HTTP/1.0\r\n" + host + chunked + "\r\n0\r\n\r\n", 400},
		"CONNECT":                        {"CONNECT web.example.com:80 HTTP/1.1\r\n" + host + "\r\n", 405},
		"unknown expectation":            {post("Expect: tea\r\n", ""), 417},
		"Trailer that is no list":        {post(chunked+"Trailer: a b\r\n", "0\r\n\r\n"), 400},
		"Connection that is no list":     {post("Connection: a b\r\n", ""), 400},
		"Connection with many members":   {post("Connection: "+strings.Repeat("x,", 40)+"\r\n", ""), 400},
		"two upgrades":                   {post("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", ""), 400},
		"too many fields":                {post(strings.Repeat("X: y\r\n", 200), ""), 431},
		"too large a header":             {post("X: "+strings.Repeat("y", 70<<10)+"\r\n", ""), 431},
		"too large without an end":       {"GET / HTTP/1.1\r\nX: " + strings.Repeat("y", 70<<10), 431},
		"two chunk sizes":                {post(chunked, "5 5\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk size with a sign":         {post(chunked, "+5\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk size with 0x":             {post(chunked, "0x5\r\nhello\r\n0\r\n\r\n"), 400},
		"empty chunk size":               {post(chunked, "\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk size that overflows":      {post(chunked, "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 400},
		"large chunk size":               {post(chunked, "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk size before a bare LF":    {post(chunked, "5\nhello\r\n0\r\n\r\n"), 400},
		"chunk size before a bare CR":    {post(chunked, "5\rhello\r\n0\r\n\r\n"), 400},
		"chunk longer than its size":     {post(chunked, "5\r\nhello!\r\n0\r\n\r\n"), 400},
		"chunk shorter than its size":    {post(chunked, "6\r\nhello\r\n0\r\n\r\n"), 400},
		"chunk without its end":          {post(chunked, "5\r\nhello0\r\n\r\n"), 400},
		"chunk extension with a bare LF": {post(chunked, "5;a\nhello\r\n0\r\n\r\n"), 400},
		"chunk extension with a bare CR": {post(chunked, "5;a\rb\r\nhello\r\n0\r\n\r\n"), 400},
		"long chunk extension":           {post(chunked, "5;"+strings.Repeat("a", 300)+"\r\nhello\r\n0\r\n\r\n"), 400},
		"trailer with a bare LF":         {post(chunked, "0\r\nX: y\n\r\n"), 400},
		"folded trailer":                 {post(chunked, "0\r\nX: y\r\n z\r\n\r\n"), 400},
		"trailer without colon":          {post(chunked, "0\r\nX\r\n\r\n"), 400},
		"long trailer":                   {post(chunked, "0\r\nX: "+strings.Repeat("y", 9<<10)+"\r\n\r\n"), 400},
		"TLS on the plain listener":      {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.dial()
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(c)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if res.StatusCode != tt.status || !res.Close {
				t.Errorf("status %d, close %v; want %d and close", res.StatusCode, res.Close, tt.status)
			}
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
				t.Errorf("then %q %v", rest, err)
			}
		})
	}
	mu.Lock()
	defer mu.Unlock()
	for _, s := range seen {
		t.Errorf("the instance saw %s", s)
	}
}

// What is unusual but clear passes.
func TestUnusualRequestsPass(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if n := r.Header.Get("Content-Length"); len(n) > 1 && n[0] == '0' {
			body = []byte(n + " is eight or ten")
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, body, r.Header.Get("X-A"))
	})))
	const host = "Host: web.example.com\r\n"
	for request, want := range map[string]string{
		"GET http://web.example.com/x?y HTTP/1.1\r\n" + host + "\r\n":                                                             "GET /x?y  ",
		"GET http://WEB.example.com HTTP/1.1\r\n" + host + "\r\n":                                                                 "GET /  ",
		"GET http://web.example.com?y HTTP/1.1\r\n" + host + "\r\n":                                                               "GET /?y  ",
		"GET / HTTP/1.1\r\nhOsT:web.example.com\r\nX-A:\t b \t\r\n\r\n":                                                           "GET /  b",
		"GET /\xc3\xa9|^ HTTP/1.1\r\n" + host + "\r\n":                                                                            "GET /\xc3\xa9|^  ",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 005\r\n\r\nhello":                                                         "POST / hello ",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 010\r\n\r\n0123456789":                                                    "POST / 0123456789 ",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: CHUNKED\r\n\r\n05;a=\"b\"\r\nhello\r\nA \r\n0123456789\r\n000\r\n\r\n": "POST / hello0123456789 ",
	} {
		c := b.dial()
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 200 || string(body) != want || err != nil {
			t.Errorf("%q: %d %q %v, want %q", request, res.StatusCode, body, err, want)
		}
	}
}

// Requests sent ahead are answered in their order, however they are cut into packets.
func TestPipelining(t *testing.T) {
	b := start(t, nil)
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.RequestURI, body)
	})))
	var requests bytes.Buffer
	const n = 60
	for i := range n {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&requests, "GET /%d HTTP/1.1\r\nHost: web.example.com\r\n\r\n", i)
		case 1:
			fmt.Fprintf(&requests, "POST /%d HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: 4\r\n\r\nbody", i)
		case 2:
			fmt.Fprintf(&requests, "POST /%d HTTP/1.1\r\nHost: web.example.com\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", i)
		}
	}
	for _, piece := range []int{1, 7, 100, 100_000} {
		c := b.dial()
		go func() {
			for p := requests.Bytes(); len(p) > 0; {
				k := min(piece, len(p))
				if _, err := c.Write(p[:k]); err != nil {
					return
				}
				p = p[k:]
			}
		}()
		r := bufio.NewReader(c)
		for i := range n {
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("pieces of %d, answer %d: %v", piece, i, err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			want := fmt.Sprintf("/%d ", i)
			if i%3 != 0 {
				want += "body"
			}
			if string(body) != want || err != nil {
				t.Fatalf("pieces of %d, answer %d: %q %v, want %q", piece, i, body, err, want)
			}
		}
	}
}

// Responses of an instance that cannot be trusted become 502, and their connection is not used again.
func TestMalformedResponses(t *testing.T) {
	b := start(t, nil)
	for name, answer := range map[string]string{
		"no HTTP":               "hello\r\n\r\n",
		"bare LF":               "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"length and chunked":    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":           "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
		"odd length":            "HTTP/1.1 200 OK\r\nContent-Length: 5a\r\n\r\nhello",
		"other coding":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"folded field":          "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
		"space before colon":    "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
		"NUL":                   "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
		"short status":          "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
		"status of four digits": "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
		"impossible status":     "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
		"other version":         "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"unasked upgrade":       "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		"ends in its header":    "HTTP/1.1 200 OK\r\nContent-Le",
		"malformed first chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"endless header":        "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			in := scripted(t, func(c net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(c, answer) })
			b.publish(route("web.example.com", at("i1", in)))
			got := b.get("http://web.example.com/")
			if got.Status != http.StatusBadGateway {
				t.Errorf("got %d %q", got.Status, got.Body)
			}
		})
	}
}

// scripted starts an instance that reads one request from each connection, lets play answer it and
// An instance that speaks before it is asked, as servers of other protocols do, is dialled once for each request:
// however often that meets its greeting, the next connection would be no better.
func TestInstanceThatSpeaksFirst(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dialled := make(chan struct{}, 100_000)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			dialled <- struct{}{}
			_, _ = io.WriteString(c, "220 mail.example.com ready\r\n")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	b := start(t, nil)
	b.publish(route("web.example.com", at("i1", ln.Addr().String())))
	const requests = 1000
	for range requests {
		if got := b.get("http://web.example.com/"); got.Status < 500 {
			t.Fatalf("got %+v", got)
		}
	}
	if n := len(dialled); n == 0 || n > requests {
		t.Errorf("%d requests dialled the instance %d times", requests, n)
	}
}

// then closes it. It returns its address.
func scripted(t testing.TB, play func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(waitLimit))
				r := bufio.NewReader(c)
				if _, err := http.ReadRequest(r); err == nil {
					play(c, r)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}

// Bytes an instance sends beyond its response must not become the next one's.
func TestUnaskedBytesAreNoResponse(t *testing.T) {
	for name, answer := range map[string]string{
		"with the response": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"behind no content": "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"behind the chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	} {
		b := start(t, nil)
		later, sent := make(chan struct{}), make(chan struct{}, 3)
		in := scripted(t, func(c net.Conn, r *bufio.Reader) {
			head, rest, _ := strings.Cut(answer, "HTTP/1.1 200 OK\r\nContent-Length: 4")
			if name == "with the response" {
				head, rest = answer, ""
			}
			_, _ = io.WriteString(c, head)
			if rest != "" {
				<-later
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4"+rest)
			}
			sent <- struct{}{}
			_, _ = http.ReadRequest(r)
		})
		b.publish(route("web.example.com", at("i1", in)))
		for i := range 3 {
			if got := b.get("http://web.example.com/"); got.Status >= 400 || strings.Contains(got.Body, "evil") {
				t.Errorf("%s, request %d: %d %q", name, i, got.Status, got.Body)
			}
			if i == 0 {
				close(later)
			}
			<-sent // what is on its way when the next request begins cannot be told from its answer
		}
	}
}
