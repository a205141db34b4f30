package router

import (
	"bytes"
	"strings"
	"testing"
)

func TestHostName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for in, want := range map[string]string{
		"example.com": "example.com", "EXAMPLE.com.": "example.com", "a:80": "a", "a:": "a", "a_b.c-d": "a_b.c-d",
		"127.0.0.1:80": "127.0.0.1", "a.:80": "a", strings.Repeat(long+".", 3) + long[:61]: strings.Repeat(long+".", 3) + long[:61],
		"": "", ".": "", "a..b": "", ".a": "", "a..": "", "-a": "", "a-": "", "a-.b": "", "a b": "", "a/b": "", "a\x00": "",
		"a:80:80": "", "a:65536": "", "a:x": "", "a:-1": "", ":80": "", "[::1]": "", "[::1]:80": "", "ä.example": "",
		"user@a": "", "*.a": "", "a%41": "", long + "a": "", strings.Repeat(long+".", 3) + long: "",
	} {
		var h hostName
		ok := h.parse(in)
		if got := string(h.bytes()); got != want || ok != (want != "") {
			t.Errorf("parse(%q) = %q %v, want %q", in, got, ok, want)
		}
	}
}

func FuzzHostName(f *testing.F) {
	for _, s := range []string{"example.com", "EXAMPLE.com.:443", "a..b", "[::1]:80", "a:65536", "-", "é", "a\x00b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var h, again hostName
		ok := h.parse(in)
		if name := withoutPort(in); validRouteHost(name) && !strings.HasPrefix(name, "*.") && (!ok || string(h.bytes()) != name) {
			t.Errorf("%q is found as %q, but parsed as %q %v", in, name, h.bytes(), ok)
		}
		if !ok {
			if h.n != 0 {
				t.Errorf("%q is refused but leaves %q", in, h.bytes())
			}
			return
		}
		name := string(h.bytes())
		if name == "" || len(name) > maxHostLen || name != strings.ToLower(name) || strings.ContainsAny(name, " :/\\@%\r\n\x00[]*") {
			t.Errorf("%q is accepted as %q", in, name)
		}
		if !again.parse(name) || string(again.bytes()) != name {
			t.Errorf("%q is %q, which is %q", in, name, again.bytes())
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	frame := func(body string) []byte { return append([]byte{0, 0, 0, byte(len(body))}, body...) }
	f.Add(frame(`{"Hello":{"Protocol":1,"Version":7,"Addresses":{"HTTP":"127.0.0.1:80"}}}`))
	f.Add(frame(`{"Table":{"Version":1,"Routes":[{"Hosts":["a"],"Service":"s","Backends":[{"Instance":"i","Addr":"1.2.3.4:5"}]}]}}`))
	f.Add(frame(`{"Watch":["i1"]}`))
	f.Add(frame(`{"Certificates":{"List":[{"CertPEM":"AAAA"}]}}`))
	f.Add(frame(`{}`))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 'x'})
	f.Add([]byte{0x03, 0xff, 0xff, 0xff, 'x'}) // promises much, brings little
	f.Fuzz(func(t *testing.T, in []byte) {
		var buf bytes.Buffer
		m, err := readMessage(bytes.NewReader(in), &buf)
		if buf.Cap() > 2*len(in)+4096 {
			t.Errorf("%d bytes made a buffer of %d", len(in), buf.Cap())
		}
		if err != nil || m.Table == nil {
			return
		}
		// Whatever table comes, it is refused or serves; neither may bring the router down.
		r := newRoutes(newDrain(), breakerLimits{changed: func() {}})
		if r.install(*m.Table) != nil {
			return
		}
		for _, route := range m.Table.Routes {
			for _, h := range route.Hosts {
				if r.current.Load().lookup(strings.TrimPrefix(h, "*.")) == nil && !strings.HasPrefix(h, "*.") {
					t.Errorf("host %q was accepted but has no route", h)
				}
			}
		}
	})
}
