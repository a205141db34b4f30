package router_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"apron"
	"apron/router"
)

// Users of HTTP/1 whose instance speaks HTTP/2: the relay's parser, the standard library's transport, and
// what joins them.

// h2cRoute is a route to an instance that speaks HTTP/2.
func h2cRoute(t testing.TB, h http.HandlerFunc) apron.Route {
	r := route("two.example.com", h2cBackend(t, "i2", h))
	r.Options.Protocol = apron.ProtocolH2C
	return r
}

// say sends a part of an answer at once.
func say(w http.ResponseWriter, text string) {
	fmt.Fprint(w, text)
	_ = http.NewResponseController(w).Flush() // the user's side shows it
}

// An answer that the instance did not end does not look like one that it did, whoever speaks which
// protocol.
func TestCutAnswersLookCut(t *testing.T) {
	b, trust := secure(t, "*.example.com")
	trust.ServerName, trust.NextProtos = "web.example.com", nil
	instances := map[string]apron.Route{
		"HTTP/2": h2cRoute(t, func(w http.ResponseWriter, _ *http.Request) {
			say(w, "part")
			panic(http.ErrAbortHandler)
		}),
	}
	for name, end := range map[string]string{"cut": "", "malformed": "zz\r\n"} {
		instances[name] = route("two.example.com", at("i1", scripted(t, func(c net.Conn, r *bufio.Reader) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
			if end != "" {
				time.Sleep(20 * time.Millisecond) //nolint:forbidigo // or it comes along with the header, and is answered 502
				fmt.Fprint(c, end)
				_, _ = r.ReadByte()
			}
		})))
	}
	for name, r := range instances {
		b.publish(r)
		for _, minor := range []int{0, 1} {
			for _, secured := range []bool{false, true} {
				c := b.dial()
				if secured {
					raw, err := net.Dial("tcp", b.addrs.HTTPS)
					if err != nil {
						t.Fatal(err)
					}
					c = tls.Client(raw, trust)
					_ = c.SetDeadline(time.Now().Add(waitLimit))
				}
				fmt.Fprintf(c, "GET / HTTP/1.%d\r\nHost: two.example.com\r\n\r\n", minor)
				got, err := io.ReadAll(c)
				_ = c.Close()
				if minor == 0 && !errors.Is(err, syscall.ECONNRESET) || minor == 1 && (bytes.HasSuffix(got, []byte("0\r\n\r\n")) || errors.Is(err, syscall.ETIMEDOUT)) {
					t.Errorf("%s, HTTP/1.%d, TLS %v: %q %v", name, minor, secured, got, err)
				}
			}
		}
	}
}

// A header section may fill the buffer to the last byte, and the body come later.
func TestHeaderThatFillsTheBuffer(t *testing.T) {
	b := start(t, nil)
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }
	two := h2cRoute(t, echo)
	two.Service = "two"
	b.publish(two, route("web.example.com", backend(t, "i1", echo)))
	for _, host := range []string{"web.example.com", "two.example.com"} {
		for _, size := range []int{8191, 8192, 8193, 16384, 32768} {
			c := b.dial()
			head := "POST / HTTP/1.1\r\nHost: " + host + "\r\nExpect: 100-continue\r\nContent-Length: 5\r\nX: "
			fmt.Fprint(c, head+strings.Repeat("y", size-len(head)-4)+"\r\n\r\n")
			r := bufio.NewReader(c)
			if got := b.read(r, "POST"); got.Status != http.StatusContinue {
				t.Fatalf("%s, %d bytes: %+v", host, size, got)
			}
			fmt.Fprint(c, "hello")
			b.want(b.read(r, "POST"), 200, "hello")
		}
	}
}

// An instance may answer before it has the body, whose user then waits for the end of the answer.
func TestEarlyAnswersEnd(t *testing.T) {
	b := start(t, nil)
	b.publish(h2cRoute(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/413" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		say(w, "enough")
	}))
	user := &http.Client{Transport: h2cUser(b), Timeout: waitLimit}
	for path, status := range map[string]int{"/": 200, "/413": 413} {
		for range 20 {
			c := b.dial()
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: two.example.com\r\nContent-Length: 1000000\r\n\r\nxx", path)
			r := bufio.NewReader(c)
			b.want(b.read(r, "POST"), status, "enough")
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection goes on: %v", err)
			}
			body, begun := io.Pipe()
			go fmt.Fprint(begun, "xx")
			res, err := user.Post("http://two.example.com"+path, "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			_ = begun.Close()
			_ = res.Body.Close()
			if res.StatusCode != status || string(got) != "enough" || err != nil {
				t.Errorf("HTTP/2 %s: %d %q %v", path, res.StatusCode, got, err)
			}
		}
	}
}

// h2cUser returns what speaks HTTP/2 to the router.
func h2cUser(b *bench) *http.Transport {
	tr := b.http.Transport.(*http.Transport).Clone()
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	b.Cleanup(tr.CloseIdleConnections)
	return tr
}

// So does an error, and it is the instance's.
func TestEarlyErrorsEnd(t *testing.T) {
	b := start(t, nil)
	r := route("two.example.com", at("i1", framed(t, nil, nil, "")))
	r.Options.Protocol = apron.ProtocolH2C
	b.publish(r)
	user := &http.Client{Transport: h2cUser(b), Timeout: waitLimit}
	for range 5 {
		c := b.dial()
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: two.example.com\r\nContent-Length: 1000000\r\n\r\nxx")
		if got := b.read(bufio.NewReader(c), "POST"); got.Status != http.StatusBadGateway {
			t.Errorf("got %+v", got)
		}
		body, begun := io.Pipe()
		go fmt.Fprint(begun, "xx")
		res, err := user.Post("http://two.example.com/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		_ = begun.Close()
		_ = res.Body.Close()
		if res.StatusCode != http.StatusBadGateway {
			t.Errorf("HTTP/2: %s", res.Status)
		}
	}
}

// What reads a body has let go of it when its request is over: its memory is another connection's then.
func TestAbandonedBodies(t *testing.T) {
	b := start(t, nil)
	b.publish(h2cRoute(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			_, _ = io.Copy(w, r.Body)
		case "/early":
			say(w, "early")
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for i := range 100 {
				c, err := net.Dial("tcp", b.addrs.HTTP)
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintf(c, "POST /%s HTTP/1.1\r\nHost: two.example.com\r\nContent-Length: 1000000\r\n\r\nxx", []string{"early", "never"}[i%2])
				_, _ = c.Read(make([]byte, 1))
				fmt.Fprint(c, strings.Repeat("x", 1000)) // what is done with it is the router's affair
				_ = c.Close()
			}
		})
		users.Go(func() {
			c := b.dial()
			r := bufio.NewReader(c)
			for i := range 200 {
				body := strings.Repeat(fmt.Sprint(i%10), 5000)
				fmt.Fprintf(c, "POST /echo HTTP/1.1\r\nHost: two.example.com\r\nContent-Length: 5000\r\n\r\n%s", body)
				if got := b.read(r, "POST"); got.Status != 200 || got.Body != body {
					t.Errorf("got %d %q", got.Status, got.Body)
					return
				}
			}
		})
	}
	users.Wait()
}

// An instance may pause for longer than a user may.
func TestPausesBelongToTheInstance(t *testing.T) {
	const stall = 400 * time.Millisecond
	b := start(t, func(c *router.Config) { c.StallLimit = stall })
	b.publish(h2cRoute(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		for i := range 3 {
			time.Sleep(2 * stall) //nolint:forbidigo // the pause is what is tested
			say(w, fmt.Sprint(i))
		}
	}))
	b.want(b.get("http://two.example.com/"), 200, "012")
}

func TestTrailerOfARequestInHTTP1(t *testing.T) {
	b := start(t, nil)
	b.publish(h2cRoute(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%q %v %v", body, err, r.Trailer)
	}))
	c := b.dial()
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: two.example.com\r\nTrailer: X-T, Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n"+
		"2\r\nok\r\n0\r\nx-t: 1\r\nContent-Length: 3\r\nX-Other: 1\r\n\r\n")
	b.want(b.read(bufio.NewReader(c), "POST"), 200, `"ok" <nil> map[X-T:[1]]`)
}

// framed starts an instance that answers each request with the same frames of HTTP/2: interim fields if there
// are any, fields, body, trailer; without fields it resets the stream. It returns its address.
func framed(t testing.TB, interim, fields []string, body string, trailer ...string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	answer := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		stop := context.AfterFunc(t.Context(), func() { _ = c.Close() }) // the router keeps it
		defer stop()
		if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		section := func(stream uint32, end bool, fields ...string) {
			block.Reset()
			for i := 0; i+1 < len(fields); i += 2 {
				_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}) // into memory
			}
			if len(fields) > 0 {
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
			}
		}
		_ = f.WriteSettings() // what fails here shows in what the user gets
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.SettingsFrame:
				if !frame.IsAck() {
					_ = f.WriteSettingsAck()
				}
			case *http2.HeadersFrame:
				if len(fields) == 0 {
					_ = f.WriteRSTStream(frame.StreamID, http2.ErrCodeInternal)
					continue
				}
				section(frame.StreamID, false, interim...)
				section(frame.StreamID, false, fields...)
				_ = f.WriteData(frame.StreamID, len(trailer) == 0, []byte(body))
				section(frame.StreamID, true, trailer...)
			}
		}
	}
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { answer(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}

// What HTTP/2 can say and HTTP/1 cannot is not passed on for the user to make something of it.
func TestTranslatedAnswersAreUnambiguous(t *testing.T) {
	b := start(t, nil)
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	n := fmt.Sprint(len(evil))
	for name, tt := range map[string]struct {
		interim, fields, trailer []string
		status                   int
		body                     string
	}{
		"body of no content":   {fields: []string{":status", "204"}, status: 204},
		"body of not modified": {fields: []string{":status", "304"}, status: 304},
		"two lengths":          {fields: []string{":status", "200", "content-length", n, "content-length", "3"}, status: 502},
		"two lengths, shorter": {fields: []string{":status", "200", "content-length", "3", "content-length", n}, status: 502},
		"the same twice":       {fields: []string{":status", "200", "content-length", n, "content-length", n}, status: 502},
		"a length with a zero": {fields: []string{":status", "200", "content-length", "0" + n}, status: 200, body: evil},
		"signed length":        {fields: []string{":status", "200", "content-length", "+" + n}, status: 502},
		"no length":            {fields: []string{":status", "200", "content-length", "x"}, status: 502},
		"a coding":             {fields: []string{":status", "200", "transfer-encoding", "gzip"}, status: 200, body: evil},
		"interim length": {
			interim: []string{":status", "103", "content-length", "5", "transfer-encoding", "chunked", "link", "</x>"},
			fields:  []string{":status", "200", "content-length", n}, status: 200, body: evil,
		},
		"length in the trailer": {
			fields: []string{":status", "200"}, trailer: []string{"content-length", "5", "transfer-encoding", "chunked", "x-sum", "1"},
			status: 200, body: evil,
		},
	} {
		r := route("two.example.com", at("i1", framed(t, tt.interim, tt.fields, evil, tt.trailer...)))
		r.Options.Protocol = apron.ProtocolH2C
		b.publish(r)
		c := b.dial()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: two.example.com\r\n\r\nGET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n")
		in := bufio.NewReader(c)
		if tt.interim != nil {
			if got := b.read(in, "GET"); got.Status != 103 || len(got.Header) != 1 {
				t.Errorf("%s: %+v", name, got)
			}
		}
		got := b.read(in, "GET")
		if got.Status != tt.status || tt.status < 400 && got.Body != tt.body {
			t.Errorf("%s: %+v", name, got)
		}
		if l := got.Header.Get("Content-Length"); len(l) > 1 && l[0] == '0' {
			t.Errorf("%s: length %s", name, l)
		}
		// The next is that of another host, which there is not, or the connection has ended.
		rest, err := io.ReadAll(io.LimitReader(in, 20))
		if s := string(rest); s != "" && s != "HTTP/1.1 404 Not Fou" || err != nil {
			t.Errorf("%s: then %q %v", name, rest, err)
		}
		_ = c.Close()
	}
}

// Instances of HTTP/2, and their users of HTTP/1 and 2, do everything wrong; nobody else notices, and nothing
// is left of it.
func TestChaosOfHTTP2(t *testing.T) {
	b := start(t, func(c *router.Config) { c.QueueLimit = 50 * time.Millisecond })
	bad := h2cRoute(t, func(w http.ResponseWriter, r *http.Request) {
		kind, n := rand.IntN(9), rand.IntN(100_000)
		piece := strings.Repeat("x", n)
		switch kind {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			say(w, piece)
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusForbidden)
		case 3:
			say(w, piece)
		case 4:
			_, _ = io.CopyN(io.Discard, r.Body, int64(n))
			say(w, piece)
		case 5:
			select {
			case <-r.Context().Done():
			case <-time.After(500 * time.Millisecond):
			}
		case 6:
			w.Header().Set("Content-Length", fmt.Sprint(n+1))
			say(w, piece)
		case 7:
			w.WriteHeader(http.StatusEarlyHints)
			_ = http.NewResponseController(w).EnableFullDuplex()
			_, _ = io.Copy(w, r.Body)
		case 8:
			w.Header().Set("Trailer", "X-T")
			_, _ = io.Copy(io.Discard, r.Body)
			say(w, piece)
			w.Header().Set("X-T", "1")
		}
	})
	bad.Service, bad.Concurrency = "bad", 3
	good := apron.Route{Hosts: []string{"good.example.com"}, Service: "good", Backends: []apron.Backend{h2cBackend(t, "good", http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))}}
	good.Options.Protocol = apron.ProtocolH2C
	b.publish(bad, good)
	tr := h2cUser(b)
	var users sync.WaitGroup
	for i := range 6 {
		users.Go(func() {
			rnd := rand.New(rand.NewPCG(5, uint64(i)))
			for range 50 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(400))*time.Millisecond)
				body := strings.Repeat("y", rnd.IntN(100_000))
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://two.example.com/", io.MultiReader(strings.NewReader(body)))
				if res, err := tr.RoundTrip(req); err == nil {
					_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, int64(rnd.IntN(100_000))))
					_ = res.Body.Close()
				}
				cancel()
			}
		})
		users.Go(func() {
			rnd := rand.New(rand.NewPCG(6, uint64(i)))
			for range 50 {
				c, err := net.Dial("tcp", b.addrs.HTTP)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(time.Duration(rnd.IntN(400)) * time.Millisecond))
				r := bufio.NewReader(c)
				for range 1 + rnd.IntN(3) {
					n := rnd.IntN(30_000)
					part := strings.Repeat("y", max(0, n-rnd.IntN(3)*1000))
					switch rnd.IntN(3) {
					case 0:
						go fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: two.example.com\r\nContent-Length: %d\r\n\r\n%s", n, part)
					case 1:
						go fmt.Fprintf(c, "POST / HTTP/1.0\r\nHost: two.example.com\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", n, part)
					case 2:
						go fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: two.example.com\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(part)+1, part+"y")
					}
					if got := b.read(r, "POST"); got.Status == 0 || got.Header.Get("Connection") == "close" {
						break
					}
				}
				_ = c.Close()
			}
		})
		users.Go(func() {
			for i := range 100 {
				body := strings.Repeat(fmt.Sprint(i%10), 3000)
				b.want(b.do("POST", "http://good.example.com/", io.MultiReader(strings.NewReader(body))), 200, body)
			}
		})
	}
	users.Wait()
	loads := make(chan router.Load, 1000)
	_, stop := b.connect(router.ClientConfig{OnLoad: func(l router.Load) { loads <- l }})
	defer func() { _ = stop() }()
	busy := map[string]int{}
	for known := false; !known || len(busy) > 0; {
		l := wait(t, "no requests in flight", loads)
		known = known || l.Full
		for _, i := range l.Instances {
			if busy[string(i.Instance)] = i.InFlight; i.InFlight == 0 {
				delete(busy, string(i.Instance))
			}
		}
		for _, r := range l.Routes {
			if busy["queue of "+string(r.Service)] = r.Queued; r.Queued == 0 {
				delete(busy, "queue of "+string(r.Service))
			}
		}
	}
}

// An instance that switches protocols for a user of HTTP/2, who cannot have asked for it, loses the connection.
func TestUnaskedUpgradeInHTTP2(t *testing.T) {
	records := make(chan router.Access, 10)
	b := start(t, nil)
	b.client, _ = b.connect(router.ClientConfig{OnAccess: func(list []router.Access, _ uint64) {
		for _, a := range list {
			records <- a
		}
	}})
	closed := make(chan error, 1)
	r := route("web.example.com", at("i1", scripted(t, func(c net.Conn, r *bufio.Reader) {
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
		_, err := r.ReadByte()
		closed <- err
	})))
	r.Options.AccessLog = true
	b.publish(r)
	tr := b.http.Transport.(*http.Transport)
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	if got := b.get("http://web.example.com/"); got.Status != http.StatusBadGateway {
		t.Errorf("got %+v", got)
	}
	if err := wait(t, "the end of the connection", closed); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if a := wait(t, "record", records); a.Status != http.StatusBadGateway {
		t.Errorf("record %+v", a)
	}
}
