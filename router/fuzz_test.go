package router

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"apron"
)

// The standard library is the judge: what the strict parsers take it takes as well, and understands
// in the same way.

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x?y HTTP/1.1\r\nHost: a:80\r\nContent-Length: 3\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n",
		"GET http://a/b HTTP/1.1\r\nHost: a\r\nConnection: close, X\r\n\r\n",
		"OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
		"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n",
		"PUT / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nExpect: 100-continue\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := headEnd(b, 0)
		if n <= 0 {
			return
		}
		var r request
		if r.parse(b[:n]) != 0 {
			return
		}
		want, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(b[:n]), len(b)+16))
		if err != nil {
			t.Fatalf("only we take %q: %v", b[:n], err)
		}
		length := max(r.length, 0)
		if r.chunked {
			length = -1
		}
		if string(r.method) != want.Method || !strings.EqualFold(string(r.host), want.Host) || length != want.ContentLength || int(r.minor) != want.ProtoMinor {
			t.Errorf("%q: we read %s %s %d HTTP/1.%d, net/http %s %s %d %s", b[:n], r.method, r.host, length, r.minor,
				want.Method, want.Host, want.ContentLength, want.Proto)
		}
		if target := want.RequestURI; strings.HasPrefix(target, "/") && string(r.target) != target {
			t.Errorf("%q: target %q, net/http %q", b[:n], r.target, target)
		}
		if !r.keepsAlive() && r.minor == 1 && !want.Close {
			t.Errorf("%q: we close", b[:n])
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.0 404 Not Found\r\n\r\n",
		"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 304 \r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := headEnd(b, 0)
		if n <= 0 {
			return
		}
		var r response
		if !r.parse(b[:n]) {
			return
		}
		want, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(b[:n]), len(b)+16), nil)
		if err != nil {
			t.Fatalf("only we take %q: %v", b[:n], err)
		}
		_ = want.Body.Close()
		if r.status != want.StatusCode {
			t.Errorf("%q: status %d, net/http %d", b[:n], r.status, want.StatusCode)
		}
		kinds := map[bodyKind]bool{noBody: want.ContentLength == 0, chunkedBy: len(want.TransferEncoding) == 1, untilEnd: want.ContentLength == -1}
		kinds[lengthed] = r.length == want.ContentLength
		if kind := r.body([]byte("GET")); !kinds[kind] {
			t.Errorf("%q: body %d, net/http %d %v", b[:n], kind, want.ContentLength, want.TransferEncoding)
		}
	})
}

func FuzzChunks(f *testing.F) {
	for _, seed := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\nrest", "0\r\n\r\n", "A \r\n0123456789\r\n00\r\n\r\n",
		"5\nhello\n0\n\n", "ffffffffffffffff\r\n", "1\r\nx\r\n1\r\ny\r\n0\r\nA: b\r\nC: d\r\n\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		data, rest, ok := decodeChunks(b, len(b)+1, false)
		again, restAgain, okAgain := decodeChunks(b, int(step)+1, false)
		if ok != okAgain || ok && (data != again || rest != restAgain) {
			t.Fatalf("%q in pieces of %d: %q %q %v, at once %q %q %v", b, int(step)+1, again, restAgain, okAgain, data, rest, ok)
		}
		if !ok {
			return
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(b)))
		if err != nil || string(want) != data {
			t.Fatalf("%q: %q, net/http %q %v", b, data, want, err)
		}
		framed, _, _ := decodeChunks(b, int(step)+1, true)
		if through, rest, ok := decodeChunks([]byte(framed), len(framed)+1, false); !ok || through != data || rest != "" {
			t.Fatalf("%q passed on as %q: %q %q %v", b, framed, through, rest, ok)
		}
	})
}

// decodeChunks decodes b in pieces. ok is false for what is malformed or not complete.
func decodeChunks(b []byte, step int, framed bool) (data, rest string, ok bool) {
	var d chunks
	d.reset(framed)
	for at := 0; at < len(b) && !d.done(); {
		piece := bytes.Clone(b[at:min(at+step, len(b))])
		kept, used, err := d.next(piece)
		if err != nil {
			return "", "", false
		}
		data += string(piece[:kept])
		if at += used; d.done() {
			rest = string(b[at:])
		}
	}
	if d.done() && framed {
		data = string(d.appendEnd([]byte(data)))
	}
	return data, rest, d.done()
}

// FuzzRelay sends anything to a whole relay. Whatever it was, what comes back are responses, the
// instance has seen nothing but requests, and the connection ends.
func FuzzRelay(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: web.example.com\r\n\r\nGET /b HTTP/1.1\r\nHost: web.example.com\r\nConnection: close\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: web.example.com\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n",
		"POST / HTTP/1.1\r\nHost: web.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: web.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		"GET / HTTP/1.1\r\nHost: web.example.com\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nabc",
		"HEAD / HTTP/1.0\r\nHost: other\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(seed), uint16(len(seed)))
		f.Add([]byte(seed), uint16(20))
	}
	r := newRig(f, func(c *Config) {
		c.RequestLimit, c.HeaderLimit, c.IdleLimit, c.StallLimit = time.Second, 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	}, apron.RouteOptions{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["X-Forwarded-For"]) != 1 || len(r.Header["X-Request-Id"]) != 1 {
			panic("not from the router")
		}
		_, _ = io.Copy(w, r.Body)
	}))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		at := min(int(cut), len(b))
		go func() {
			_, _ = c.Write(b[:at])
			_, _ = c.Write(b[at:])
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("%q: the connection does not end", b)
		}
		if len(got) > 0 && !bytes.HasPrefix(got, []byte("HTTP/1.")) && got[3] != 4 { // or settings of HTTP/2
			t.Fatalf("%q: answer %q", b, got)
		}
	})
}
