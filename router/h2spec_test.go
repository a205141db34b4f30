package router_test

import (
	"encoding/xml"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"apron/router"
)

// h2specPasses are the cases whose demands are not met, on purpose or by net/http, and why that is well.
var h2specPasses = map[string]string{
	"Sends invalid connection preface":                                                             "without TLS it is HTTP/1, and answered 400 as such",
	"Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                        "a frame that sets the same twice ends the connection",
	"Sends a HEADERS frame that contains the connection-specific header field":                     "answered 400 (RFC 9113 section 8.1.1 lets a server answer)",
	`Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`: "likewise",
}

// The public conformance suite for HTTP/2 finds nothing else, over TLS and with prior knowledge.
func TestH2spec(t *testing.T) {
	program := os.Getenv("APRON_H2SPEC")
	if program == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("APRON_H2SPEC does not name the program: make test sets it")
		}
		t.Skip("APRON_H2SPEC does not name the program: make test sets it")
	}
	b := start(t, func(c *router.Config) { c.HTTPS = "127.0.0.1:0" })
	chain, key := selfSigned(t, "127.0.0.1")
	if err := b.client.SetCertificates(t.Context(), []router.Certificate{{CertPEM: chain, KeyPEM: key}}); err != nil {
		t.Fatal(err)
	}
	b.publish(route("127.0.0.1", backend(t, "i1", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 1000))
	})))
	var both sync.WaitGroup
	for addr, more := range map[string][]string{b.addrs.HTTP: nil, b.addrs.HTTPS: {"--tls", "--insecure"}} {
		both.Go(func() { h2spec(t, program, addr, more...) })
	}
	both.Wait()
}

// h2spec runs the suite against addr.
func h2spec(t *testing.T, program, addr string, more ...string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Error(err)
		return
	}
	path := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"--host", host, "--port", port, "--timeout", "5", "--junit-report", path}, more...)
	out, failure := exec.CommandContext(t.Context(), program, args...).CombinedOutput() // that fails if a case does
	report, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%v, %v: %s", err, failure, out)
		return
	}
	var suites struct {
		Suites []struct {
			Name  string `xml:"name,attr"`
			Cases []struct {
				Title   string `xml:"classname,attr"`
				Failure string `xml:"failure"`
				Error   string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(report, &suites); err != nil {
		t.Error(err)
		return
	}
	cases := 0
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			cases++
			if got := c.Failure + c.Error; got != "" && h2specPasses[c.Title] == "" {
				t.Errorf("%v: %s: %s: %s", more, s.Name, c.Title, got)
			}
		}
	}
	if cases < 100 {
		t.Errorf("%v: %d cases: %s", more, cases, out)
	}
}
