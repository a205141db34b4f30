package router_test

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"apron/router"
)

// h2User is a user's connection that sends whatever frames a test wants.
type h2User struct {
	testing.TB
	net.Conn
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	dec   *hpack.Decoder
}

// h2Users returns what makes connections, over TLS or in the clear, with the dialer it is given if any, to a router whose instance
// answers with the request's body, and to /slow not before the end of the test. seen returns how many
// requests of a user have reached the instance, and of nil, how many it had at a time.
func h2Users(t *testing.T, secure bool, change func(*router.Config)) (open func(t testing.TB, with ...net.Dialer) *h2User, seen func(*h2User) int) {
	b := start(t, func(c *router.Config) {
		c.HTTPS = "127.0.0.1:0"
		if change != nil {
			change(c)
		}
	})
	chain, key := selfSigned(t, "web.example.com")
	if err := b.client.SetCertificates(t.Context(), []router.Certificate{{CertPEM: chain, KeyPEM: key}}); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards of
	of := map[string]int{}
	now, most := 0, 0
	seen = func(u *h2User) int {
		mu.Lock()
		defer mu.Unlock()
		if u == nil {
			return most
		}
		return of[u.LocalAddr().String()]
	}
	leave := make(chan struct{})
	b.publish(route("web.example.com", backend(t, "i1", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		of[r.Header.Get("X-User")]++
		now++
		most = max(most, now)
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			now--
		}()
		if r.URL.Path == "/slow" {
			select {
			case <-leave:
			case <-r.Context().Done():
			}
		}
		if _, err := io.Copy(w, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	})))
	t.Cleanup(func() { close(leave) })
	return func(t testing.TB, with ...net.Dialer) *h2User {
		t.Helper()
		addr := b.addrs.HTTP
		if secure {
			addr = b.addrs.HTTPS
		}
		dialer := append(with, net.Dialer{})[0]
		conn, err := dialer.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if secure {
			config := &tls.Config{ServerName: "web.example.com", InsecureSkipVerify: true, NextProtos: []string{"h2"}}
			conn = tls.Client(conn, config)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
			t.Fatal(err)
		}
		u := &h2User{TB: t, Conn: conn, Framer: http2.NewFramer(conn, conn)}
		u.AllowIllegalWrites = true
		u.enc = hpack.NewEncoder(&u.block)
		u.dec = hpack.NewDecoder(4096, nil)
		return u
	}, seen
}

// greet sends the preface and settings.
func (u *h2User) greet(settings ...http2.Setting) {
	_, _ = io.WriteString(u, http2.ClientPreface) // what fails here shows in outcome
	_ = u.WriteSettings(settings...)
}

// raw sends a frame.
func (u *h2User) raw(kind http2.FrameType, flags http2.Flags, stream uint32, payload string) {
	_ = u.WriteRawFrame(kind, flags, stream, []byte(payload))
}

// fields are those of a good request, each changed by a "name: value" of change or dropped by a "-name";
// others, and such with a "+", are added behind.
func (u *h2User) fields(change ...string) string {
	list := [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "web.example.com"}, {":path", "/"}, {"x-user", u.LocalAddr().String()}}
	for _, c := range change {
		if name, ok := strings.CutPrefix(c, "-"); ok {
			list = slices.DeleteFunc(list, func(f [2]string) bool { return f[0] == name })
			continue
		}
		again := strings.HasPrefix(c, "+")
		c = strings.TrimPrefix(c, "+")
		i := 1 + strings.Index(c[1:], ":")
		f := [2]string{c[:i], strings.TrimPrefix(c[i+1:], " ")}
		if at := slices.IndexFunc(list, func(g [2]string) bool { return g[0] == f[0] }); at >= 0 && !again {
			list[at] = f
		} else {
			list = append(list, f)
		}
	}
	return u.encode(list...)
}

func (u *h2User) encode(list ...[2]string) string {
	u.block.Reset()
	for _, f := range list {
		_ = u.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // into memory
	}
	return u.block.String()
}

const (
	whole = http2.FlagHeadersEndHeaders | http2.FlagHeadersEndStream
	open  = http2.FlagHeadersEndHeaders
)

// get sends a request without a body.
func (u *h2User) get(stream uint32, change ...string) {
	u.raw(http2.FrameHeaders, whole, stream, u.fields(change...))
}

// ask sends a request, on stream 1, with a body that is to follow.
func (u *h2User) ask(change ...string) {
	u.raw(http2.FrameHeaders, open, 1, u.fields(append([]string{":method: POST"}, change...)...))
}

// outcome reads until the router has ended a stream or the connection, or has answered a ping, and
// says which: "200 body", "reset CODE", "goaway CODE", "closed" or "ping DATA".
func (u *h2User) outcome() string {
	status, body := "", ""
	for {
		f, err := u.ReadFrame()
		if err != nil {
			if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "broken pipe") {
				return "closed"
			}
			return err.Error()
		}
		ended := false
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = u.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if f.IsAck() {
				return fmt.Sprintf("ping %s", f.Data[:])
			}
		case *http2.GoAwayFrame:
			if f.ErrCode == http2.ErrCodeNo {
				continue // what was begun is still answered
			}
			return "goaway " + f.ErrCode.String()
		case *http2.RSTStreamFrame:
			return "reset " + f.ErrCode.String()
		case *http2.HeadersFrame:
			fields, err := u.dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return err.Error()
			}
			if fields[0].Name == ":status" {
				status = fields[0].Value
			}
			ended = f.StreamEnded()
		case *http2.DataFrame:
			body += string(f.Data())
			ended = f.StreamEnded()
		}
		if ended {
			return strings.TrimSpace(status + " " + body)
		}
	}
}

// ping has a ping answered, which shows that the connection goes on.
func (u *h2User) ping() { _ = u.WritePing(false, [8]byte([]byte("12345678"))) }

const pong = "ping 12345678"

// h2Case is what a user sends and what comes of it.
type h2Case struct {
	section string // of RFC 9113
	name    string
	send    func(u *h2User)
	want    []string // any of these outcomes
	passed  int      // requests that reach the instance
}

// How errors end a connection or, where a stream error is enough, a stream: section 5.4.
func dies(code http2.ErrCode) []string { return []string{"goaway " + code.String(), "closed"} }

func fails(codes ...http2.ErrCode) (list []string) {
	for _, c := range codes {
		list = append(list, "reset "+c.String(), "goaway "+c.String())
	}
	return list
}

// malformed requests are a stream error, or answered 400 (section 8.1.1).
func malformed() []string {
	return append(fails(http2.ErrCodeProtocol), "400")
}

// Frames as RFC 9113 forbids them end the connection or the stream with its error code, and nothing
// of them reaches the instance; those it allows do no harm.
func TestHTTP2Conformance(t *testing.T) {
	for name, secure := range map[string]bool{"TLS": true, "prior knowledge": false} {
		t.Run(name, func(t *testing.T) {
			connect, seen := h2Users(t, secure, nil)
			for _, c := range slices.Concat(h2Connection, h2Frames, h2Streams, h2Messages) {
				if c.section == "3.4" && !secure {
					continue // it is HTTP/1, then
				}
				t.Run(c.section+" "+c.name, func(t *testing.T) {
					u := connect(t)
					c.send(u)
					got := u.outcome()
					if strings.HasPrefix(got, "400 ") {
						got = "400" // net/http says why
					}
					if !slices.Contains(c.want, got) {
						t.Errorf("got %q, want one of %q", got, c.want)
					}
					if n := seen(u); n > c.passed {
						t.Errorf("%d requests reached the instance, want %d", n, c.passed)
					}
				})
			}
		})
	}
}

var h2Connection = []h2Case{
	{section: "3.4", name: "no preface", send: func(u *h2User) {
		_, _ = io.WriteString(u, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "3.4", name: "first frame is no settings", send: func(u *h2User) {
		_, _ = io.WriteString(u, http2.ClientPreface)
		u.ping()
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.5.3", name: "settings are acknowledged before what follows", send: func(u *h2User) {
		u.greet()
		u.ping()
		for acked := false; !acked; {
			f, err := u.ReadFrame()
			if err != nil {
				u.Fatal(err)
			}
			if p, ok := f.(*http2.PingFrame); ok {
				u.Fatalf("%v came first", p)
			}
			s, ok := f.(*http2.SettingsFrame)
			acked = ok && s.IsAck()
		}
	}, want: []string{pong}},
	{section: "6.5", name: "settings with an acknowledgement and a payload", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameSettings, http2.FlagSettingsAck, 0, "\x00\x01\x00\x00\x10\x00")
	}, want: dies(http2.ErrCodeFrameSize)},
	{section: "6.5", name: "settings on a stream", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameSettings, 0, 1, "\x00\x01\x00\x00\x10\x00")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.5", name: "settings of five bytes", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameSettings, 0, 0, "\x00\x01\x00\x00\x10")
	}, want: dies(http2.ErrCodeFrameSize)},
	{section: "6.5.2", name: "push of 2", send: func(u *h2User) {
		u.greet(http2.Setting{ID: http2.SettingEnablePush, Val: 2})
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.5.2", name: "window of 2^31", send: func(u *h2User) {
		u.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
	}, want: dies(http2.ErrCodeFlowControl)},
	{section: "6.5.2", name: "frames of 16383", send: func(u *h2User) {
		u.greet(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1<<14 - 1})
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.5.2", name: "frames of 2^24", send: func(u *h2User) {
		u.greet(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 24})
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.5.2", name: "an unknown setting", send: func(u *h2User) {
		u.greet(http2.Setting{ID: 0xff, Val: 1})
		u.ping()
	}, want: []string{pong}},
	{section: "6.7", name: "an acknowledgement of no ping", send: func(u *h2User) {
		u.greet()
		_ = u.WritePing(true, [8]byte([]byte("87654321")))
		u.ping()
	}, want: []string{pong}},
	{section: "6.7", name: "ping on a stream", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FramePing, 0, 1, "12345678")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.7", name: "ping of six bytes", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FramePing, 0, 0, "123456")
	}, want: dies(http2.ErrCodeFrameSize)},
	{section: "6.8", name: "goaway on a stream", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameGoAway, 0, 1, "\x00\x00\x00\x00\x00\x00\x00\x00")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.8", name: "a request before goaway is answered", send: func(u *h2User) {
		u.greet()
		u.get(1)
		_ = u.WriteGoAway(1, http2.ErrCodeNo, nil)
	}, want: []string{"200"}, passed: 1},
	{section: "6.9", name: "window of the connection grows by 0", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.9", name: "window of a stream grows by 0", send: func(u *h2User) {
		u.greet()
		u.ask()
		u.raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x00")
	}, want: fails(http2.ErrCodeProtocol), passed: 1},
	{section: "6.9", name: "window update of three bytes", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x01")
	}, want: dies(http2.ErrCodeFrameSize)},
	{section: "6.9.1", name: "window of the connection overflows", send: func(u *h2User) {
		u.greet()
		_ = u.WriteWindowUpdate(0, 1<<31-1)
		_ = u.WriteWindowUpdate(0, 1<<31-1)
	}, want: dies(http2.ErrCodeFlowControl)},
	{section: "6.9.1", name: "window of a stream overflows", send: func(u *h2User) {
		u.greet()
		u.ask()
		_ = u.WriteWindowUpdate(1, 1<<31-1)
		_ = u.WriteWindowUpdate(1, 1<<31-1)
	}, want: fails(http2.ErrCodeFlowControl), passed: 1},
	{section: "6.9.2", name: "a setting has the window of a stream overflow", send: func(u *h2User) {
		u.greet()
		u.ask()
		_ = u.WriteWindowUpdate(1, 1<<31-1-65535)
		_ = u.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	}, want: dies(http2.ErrCodeFlowControl), passed: 1},
	{section: "6.9.1", name: "no more than the window is sent", send: func(u *h2User) {
		u.greet(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
		u.ask()
		_ = u.WriteData(1, true, []byte("hello"))
		for got := 0; got < 3; {
			f, err := u.ReadFrame()
			if err != nil {
				u.Fatal(err)
			}
			if d, ok := f.(*http2.DataFrame); ok {
				got += len(d.Data())
			}
			if got > 3 {
				u.Fatalf("%d bytes for a window of 3", got)
			}
		}
		u.ping()
		if got := u.outcome(); got != pong {
			u.Fatalf("got %q while the window is closed", got)
		}
		_ = u.WriteWindowUpdate(1, 10)
	}, want: []string{"lo"}, passed: 1},
	{section: "6.9", name: "more than the router's window", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		for range 1 << 10 {
			_ = u.WriteData(1, false, make([]byte, 16<<10))
		}
	}, want: append(fails(http2.ErrCodeFlowControl), "closed"), passed: 1},
}

var h2Frames = []h2Case{
	{section: "4.1", name: "an unknown frame", send: func(u *h2User) {
		u.greet()
		u.raw(0x20, 0xff, 0, "whatever")
		u.ping()
	}, want: []string{pong}},
	{section: "4.1", name: "unknown flags and the reserved bit", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FramePing, 0x7e, 1<<31, "12345678")
	}, want: []string{pong}},
	{section: "4.2", name: "data longer than allowed", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		u.raw(http2.FrameData, 0, 1, strings.Repeat("x", 1<<20+1))
	}, want: append(fails(http2.ErrCodeFrameSize), "closed"), passed: 1},
	{section: "4.2", name: "headers longer than allowed", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, whole, 1, strings.Repeat("x", 1<<20+1))
	}, want: dies(http2.ErrCodeFrameSize)},
	{section: "4.3", name: "headers that cannot be decoded", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, whole, 1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	}, want: dies(http2.ErrCodeCompression)},
	{section: "4.3", name: "a table larger than allowed", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, whole, 1, "\x3f\xff\xff\xff\x7f"+u.fields())
	}, want: dies(http2.ErrCodeCompression)},
	{section: "4.3", name: "priority within a field block", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, u.fields())
		u.raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x00\x01")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "4.3", name: "another stream within a field block", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, u.fields())
		u.get(3)
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.1", name: "data on stream 0", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameData, 0, 0, "x")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.1", name: "data with more padding than payload", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		u.raw(http2.FrameData, http2.FlagDataPadded, 1, "\x05x")
	}, want: dies(http2.ErrCodeProtocol), passed: 1},
	{section: "6.2", name: "headers on stream 0", send: func(u *h2User) {
		u.greet()
		u.get(0)
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.2", name: "headers with more padding than payload", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, whole|http2.FlagHeadersPadded, 1, "\xff"+u.fields())
	}, want: append(dies(http2.ErrCodeProtocol), "reset PROTOCOL_ERROR")},
	{section: "6.3", name: "priority on stream 0", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FramePriority, 0, 0, "\x00\x00\x00\x01\x01")
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.3", name: "priority of four bytes", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x00")
	}, want: append(fails(http2.ErrCodeFrameSize), "closed")},
	{section: "6.4", name: "reset on stream 0", send: func(u *h2User) {
		u.greet()
		_ = u.WriteRSTStream(0, http2.ErrCodeCancel)
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.4", name: "reset of three bytes", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		u.raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x08")
	}, want: dies(http2.ErrCodeFrameSize), passed: 1},
	{section: "6.10", name: "continuation of nothing", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, u.fields())
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.10", name: "continuation after the end", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, open, 1, u.fields())
		u.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, u.fields())
	}, want: dies(http2.ErrCodeProtocol), passed: 1},
	{section: "6.10", name: "continuation on another stream", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, u.fields())
		u.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 3, u.fields())
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "6.10", name: "continuations are put together", send: func(u *h2User) {
		u.greet()
		f := u.fields("x-long: " + strings.Repeat("y", 100))
		u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, f[:5])
		u.raw(http2.FrameContinuation, 0, 1, f[5:9])
		u.raw(http2.FrameContinuation, 0, 1, "")
		u.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, f[9:])
	}, want: []string{"200"}, passed: 1},
	{section: "6.6", name: "a push by the user", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		u.raw(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, "\x00\x00\x00\x02"+u.fields())
	}, want: dies(http2.ErrCodeProtocol), passed: 1},
}

var h2Streams = []h2Case{
	{section: "5.1", name: "data on an idle stream", send: func(u *h2User) {
		u.greet()
		_ = u.WriteData(1, true, []byte("x"))
	}, want: append(dies(http2.ErrCodeProtocol), "goaway STREAM_CLOSED")},
	{section: "5.1", name: "reset of an idle stream", send: func(u *h2User) {
		u.greet()
		_ = u.WriteRSTStream(1, http2.ErrCodeCancel)
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "5.1", name: "window of an idle stream", send: func(u *h2User) {
		u.greet()
		_ = u.WriteWindowUpdate(1, 1)
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "5.1", name: "data after the end", send: func(u *h2User) {
		u.greet()
		u.get(1, ":path: /slow")
		_ = u.WriteData(1, true, []byte("x"))
	}, want: fails(http2.ErrCodeStreamClosed), passed: 1},
	{section: "5.1", name: "headers after the end", send: func(u *h2User) {
		u.greet()
		u.get(1, ":path: /slow")
		u.get(1)
	}, want: fails(http2.ErrCodeStreamClosed), passed: 1},
	{section: "5.1", name: "data after a reset", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		_ = u.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = u.WriteData(1, true, []byte("x"))
	}, want: fails(http2.ErrCodeStreamClosed), passed: 1},
	{section: "5.1", name: "headers after a reset", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		_ = u.WriteRSTStream(1, http2.ErrCodeCancel)
		u.get(1)
	}, want: fails(http2.ErrCodeStreamClosed, http2.ErrCodeProtocol), passed: 1},
	{section: "5.1", name: "window after a reset", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		_ = u.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = u.WriteWindowUpdate(1, 1)
		u.ping()
	}, want: []string{pong}, passed: 1},
	{section: "5.1.1", name: "an even stream", send: func(u *h2User) {
		u.greet()
		u.get(2)
	}, want: dies(http2.ErrCodeProtocol)},
	{section: "5.1.1", name: "a stream below another", send: func(u *h2User) {
		u.greet()
		u.get(5, ":path: /slow")
		u.get(3)
	}, want: dies(http2.ErrCodeProtocol), passed: 1},
	{section: "5.1.2", name: "too many streams", send: func(u *h2User) {
		u.greet()
		for i := range uint32(251) {
			u.get(2*i+1, ":path: /slow")
		}
	}, want: fails(http2.ErrCodeRefusedStream, http2.ErrCodeProtocol), passed: 250},
	{section: "5.3", name: "a stream that depends on itself", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x01\x01")
		u.ping()
	}, want: append(fails(http2.ErrCodeProtocol), pong)},
	{section: "5.5", name: "an unknown frame within a field block", send: func(u *h2User) {
		u.greet()
		u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, u.fields())
		u.raw(0x20, 0, 1, "")
	}, want: dies(http2.ErrCodeProtocol)},
}

var h2Messages = append([]h2Case{
	{section: "8.1", name: "a request with a body and trailers", send: func(u *h2User) {
		u.greet()
		u.ask("te: trailers", "trailer: x-sum")
		_ = u.WriteData(1, false, []byte("hello"))
		u.raw(http2.FrameHeaders, whole, 1, u.encode([2]string{"x-sum", "5"}))
	}, want: []string{"200 hello"}, passed: 1},
	{section: "8.1", name: "trailers that do not end the stream", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		u.raw(http2.FrameHeaders, open, 1, u.encode([2]string{"x-sum", "5"}))
	}, want: malformed(), passed: 1},
	{section: "8.1", name: "a pseudo-header in trailers", send: func(u *h2User) {
		u.greet()
		u.ask(":path: /slow")
		u.raw(http2.FrameHeaders, whole, 1, u.encode([2]string{":method", "GET"}))
	}, want: malformed(), passed: 1},
	{section: "8.1.1", name: "less than the content-length", send: func(u *h2User) {
		u.greet()
		u.ask("content-length: 6")
		_ = u.WriteData(1, true, []byte("hello"))
	}, want: malformed(), passed: 1},
	{section: "8.1.1", name: "more than the content-length", send: func(u *h2User) {
		u.greet()
		u.ask("content-length: 4")
		_ = u.WriteData(1, true, []byte("hello"))
	}, want: malformed(), passed: 1},
	{section: "8.1.1", name: "a content-length without a body", send: func(u *h2User) {
		u.greet()
		u.get(1, ":method: POST", "content-length: 4")
	}, want: malformed(), passed: 1},
}, h2Malformed(
	"8.2.1", "X-Upper: a", "8.2.1", "x y: a", "8.2.1", "x(: a", "8.2.1", "x\x00: a", "8.2.1", "x-a: a\x00b", "8.2.1", "x-a: a\nb",
	"8.2.1", "x-a: a\rb", "8.2.1", "trailer: a b",
	"8.2.2", "connection: close", "8.2.2", "keep-alive: 5", "8.2.2", "proxy-connection: close", "8.2.2", "upgrade: websocket",
	"8.2.2", "transfer-encoding: chunked", "8.2.2", "te: gzip", "8.2.2", "te: trailers, deflate",
	"8.3", ":unknown: a", "8.3", ":status: 200", "8.3", "+:method: GET", "8.3", "+:path: /a", "8.3", "+:scheme: http",
	"8.3", "+:authority: other.example.com",
	"8.3.1", "-:method", "8.3.1", "-:scheme", "8.3.1", "-:path", "8.3.1", ":path: ", "8.3.1", ":path: a", "8.3.1", ":method: G T",
	"8.3.1", ":authority: a@web.example.com", "8.3.1", "host: other.example.com",
	"8.3.1", ":path: /a b", "8.3.1", ":path: /a HTTP/1.1", "8.3.1", ":path: /%zz", "8.3.1", ":path: /a\x7f", "8.3.1", ":path: *",
	"8.3.1", ":path: http://web.example.com/",
	"8.1.1", "content-length: x", "8.1.1", "content-length: -1", "8.1.1", "content-length: 1",
)...)

// h2Malformed makes cases of requests with one thing wrong.
func h2Malformed(pairs ...string) (list []h2Case) {
	for i := 0; i < len(pairs); i += 2 {
		change := pairs[i+1]
		list = append(list, h2Case{
			section: pairs[i], name: fmt.Sprintf("%q", change), want: malformed(),
			send: func(u *h2User) {
				u.greet()
				u.get(1, change)
			},
		})
	}
	return list
}

// smallWindow is a [net.Dialer.Control] that has the other side hold little of what is not read: the size
// Linux gives a send buffer is some segments, which are of 64 KiB on the loopback device.
func smallWindow(_, _ string, c syscall.RawConn) error {
	var err error
	return cmp.Or(c.Control(func(fd uintptr) {
		err = cmp.Or(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1<<12),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536))
	}), err)
}

// What would have the router hold memory without end has it end the connection.
func TestHTTP2Floods(t *testing.T) {
	connect, _ := h2Users(t, false, nil)
	for name, send := range map[string]func(f *http2.Framer, piece string) error{
		"a field block without an end": func(f *http2.Framer, piece string) error { return f.WriteContinuation(1, false, []byte(piece)) },
		"pings":                        func(f *http2.Framer, _ string) error { return f.WritePing(false, [8]byte{}) },
	} {
		t.Run(name, func(t *testing.T) {
			u := connect(t, net.Dialer{Control: smallWindow})
			u.greet()
			u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, u.fields())
			if name != "a field block without an end" {
				u.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, "")
			}
			piece := u.encode([2]string{"x-a", strings.Repeat("y", 1000)})
			var many bytes.Buffer
			f := http2.NewFramer(&many, nil)
			for range 1000 {
				_ = send(f, piece) // into memory
			}
			var err error
			for err == nil {
				_, err = u.Write(many.Bytes())
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("it could go on for ever")
			}
		})
	}
}

// Requests that are taken back as soon as they are made are no more at a time than those that are not,
// and others are answered meanwhile.
func TestHTTP2RapidReset(t *testing.T) {
	connect, most := h2Users(t, false, nil)
	u, other := connect(t), connect(t)
	u.greet()
	go func() { _, _ = io.Copy(io.Discard, u.Conn) }() // until the end of the test
	other.greet()
	for i := range uint32(10_000) {
		u.get(2*i+1, ":path: /slow")
		if u.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
			break // as well: it has been told to keep calm
		}
		if i%1000 == 999 {
			other.get(2*(i/1000) + 1)
			if got := other.outcome(); got != "200" {
				t.Fatalf("the other user got %q", got)
			}
		}
	}
	if n := most(nil); n > 250+1 {
		t.Errorf("%d requests at a time", n)
	}
}

// A field block that comes bit by bit, and never ends, has the time of an idle connection.
func TestHTTP2SlowFieldBlock(t *testing.T) {
	connect, _ := h2Users(t, false, func(c *router.Config) { c.IdleLimit = 500 * time.Millisecond })
	u := connect(t)
	u.greet()
	u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, u.fields())
	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for u.WriteContinuation(1, false, nil) == nil {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	if _, err := io.Copy(io.Discard, u.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("it could go on for ever")
	}
	close(stop)
	sender.Wait()
}

// A header section of more than the router takes is answered 431, or ends the connection.
func TestHTTP2HeaderSize(t *testing.T) {
	connect, seen := h2Users(t, true, nil)
	u := connect(t)
	u.greet()
	f := u.fields("x-a: " + strings.Repeat("\x01", 100<<10)) // bytes that Huffman does not make shorter
	u.raw(http2.FrameHeaders, http2.FlagHeadersEndStream, 1, f[:16<<10])
	for f = f[16<<10:]; len(f) > 16<<10; f = f[16<<10:] {
		u.raw(http2.FrameContinuation, 0, 1, f[:16<<10])
	}
	u.raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 1, f)
	if got := u.outcome(); !strings.HasPrefix(got, "431") && !slices.Contains(append(fails(http2.ErrCodeProtocol, http2.ErrCodeEnhanceYourCalm, http2.ErrCodeCompression), "closed"), got) {
		t.Errorf("got %q", got)
	}
	if seen(u) != 0 {
		t.Error("it has reached the instance")
	}
}
