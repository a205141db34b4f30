package router_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"apron"
	"apron/router"
)

// The benchmarks compare the router with what others use: each is a process of its own in front of
// the same instance, which is another, and the CPU time it takes is the kernel's figure.

const (
	roleVariable = "APRON_BENCH_ROLE" // makes this binary one of the processes below
	benchHost    = "web.example.com"
	largeBody    = 1 << 20
)

// playRole runs one of the processes, and reports whether it was asked to. Its standard output says
// where it listens.
func playRole() bool {
	arg := strings.Split(os.Getenv(roleVariable), " ")
	switch arg[0] {
	case "":
		return false
	case "instance":
		listenAndServe("127.0.0.1:0", http.HandlerFunc(serveInstance), "", "")
	case "reverseproxy":
		target := &url.URL{Scheme: "http", Host: arg[1]}
		p := &httputil.ReverseProxy{
			ErrorLog: log.New(io.Discard, "", 0), // connections that the load generator drops
			Rewrite:  func(pr *httputil.ProxyRequest) { pr.SetURL(target); pr.Out.Host = pr.In.Host; pr.SetXForwarded() },
			Transport: &http.Transport{
				MaxIdleConnsPerHost: 256, DisableCompression: true,
			},
		}
		go listenAndServe(arg[2], p, "", "")
		listenAndServe(arg[3], p, arg[4], arg[5])
	case "router":
		if len(arg) > 4 { // files it may have open
			n, err := strconv.ParseUint(arg[4], 10, 64)
			if err == nil {
				err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
			}
			if err != nil {
				panic(err)
			}
		}
		err := router.Run(context.Background(), router.Config{
			Dir: arg[1], HTTP: arg[2], HTTPS: arg[3], Log: slog.New(slog.DiscardHandler),
		})
		fmt.Fprintln(os.Stderr, err)
	}
	return true
}

func listenAndServe(addr string, h http.Handler, cert, key string) {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		fmt.Println(ln.Addr())
		srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
		if cert == "" {
			err = srv.Serve(ln)
		} else {
			err = srv.ServeTLS(ln, cert, key)
		}
	}
	fmt.Fprintln(os.Stderr, err)
}

func serveInstance(w http.ResponseWriter, r *http.Request) {
	w.Header()["Content-Type"] = []string{"text/plain"}
	if r.URL.Path == "/large" {
		w.Header().Set("Content-Length", strconv.Itoa(largeBody))
		part := make([]byte, 64<<10)
		for range largeBody / len(part) {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
		return
	}
	_, _ = w.Write([]byte("Hello from an instance, in as many bytes as a small response of JSON has."))
}

// peer is one of the proxies compared.
type peer struct {
	name        string
	http, https string
	pid         int
}

// stage is what all peers of a benchmark share.
type stage struct {
	testing.TB
	dir       string
	instance  string
	cert, key string
}

func newStage(b testing.TB) *stage {
	s := &stage{TB: b, dir: b.TempDir()}
	s.cert, s.key = filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")
	chain, key := selfSigned(b, benchHost)
	s.write(s.cert, chain)
	s.write(s.key, key)
	s.write(filepath.Join(s.dir, "both.pem"), append(slices.Clone(chain), key...))
	cmd := s.self("instance")
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	s.begin(cmd)
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		b.Fatal(err)
	}
	s.instance = strings.TrimSpace(string(line[:n]))
	return s
}

func (s *stage) write(name string, content []byte) {
	if err := os.WriteFile(name, content, 0o600); err != nil {
		s.Fatal(err)
	}
}

// self returns this binary in a role.
func (s *stage) self(role ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"="+strings.Join(role, " "))
	return cmd
}

// begin starts a process that ends with the benchmark.
func (s *stage) begin(cmd *exec.Cmd) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // by a signal
		timer.Stop()
		if s.Failed() {
			s.Logf("%s: %s", cmd.Path, stderr.String()[:min(stderr.Len(), 1000)])
		}
	})
}

// peers starts every proxy that is installed.
func (s *stage) peers() []*peer {
	var list []*peer
	for name, start := range map[string]func(http, https string) *exec.Cmd{
		"apron": s.router, "reverseproxy": s.reverseProxy, "nginx": s.nginx, "haproxy": s.haproxy, "caddy": s.caddy,
	} {
		if name != "apron" && name != "reverseproxy" {
			if _, err := exec.LookPath(name); err != nil {
				s.Logf("%s is not installed (.ci/need bench installs it): left out", name)
				continue
			}
		}
		p := &peer{name: name, http: freeAddr(s), https: freeAddr(s)}
		cmd := start(p.http, p.https)
		s.begin(cmd)
		p.pid = cmd.Process.Pid
		s.awaitPeer(p)
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *peer) int { return strings.Compare(a.name, b.name) })
	return list
}

// awaitPeer returns once the peer answers on both addresses.
func (s *stage) awaitPeer(p *peer) {
	for addr, tlsToo := range map[string]bool{p.http: false, p.https: true} {
		client := &http.Client{Timeout: waitLimit, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, addr)
			},
		}}
		scheme := map[bool]string{false: "http", true: "https"}[tlsToo]
		for until := time.Now().Add(waitLimit); ; {
			res, err := client.Get(scheme + "://" + benchHost + "/")
			if err == nil {
				_ = res.Body.Close()
				if res.StatusCode == http.StatusOK {
					break
				}
				err = errors.New(res.Status)
			}
			if time.Now().After(until) {
				s.Fatalf("%s does not answer: %v", p.name, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func freeAddr(t testing.TB) string { return closedPort(t) }

func (s *stage) router(plain, secure string) *exec.Cmd {
	dir, err := os.MkdirTemp("", "r")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(dir) })
	table := apron.RouteTable{Version: 1, Routes: []apron.Route{{
		Hosts: []string{benchHost}, Service: "web", ServiceName: "web", Concurrency: 200,
		Backends: []apron.Backend{{Instance: "i1", Addr: netip.MustParseAddrPort(s.instance)}},
	}}}
	chain, err := os.ReadFile(s.cert)
	if err != nil {
		s.Fatal(err)
	}
	key, err := os.ReadFile(s.key)
	if err != nil {
		s.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "router"), 0o700); err != nil {
		s.Fatal(err)
	}
	life, err := router.MachineLife()
	if err != nil {
		s.Fatal(err)
	}
	for name, v := range map[string]any{
		"table.json": table, "life": life, "certificates.json": []router.Certificate{{CertPEM: chain, KeyPEM: key}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			s.Fatal(err)
		}
		s.write(filepath.Join(dir, "router", name), b)
	}
	return s.self("router", dir, plain, secure)
}

func (s *stage) reverseProxy(plain, secure string) *exec.Cmd {
	return s.self("reverseproxy", s.instance, plain, secure, s.cert, s.key)
}

func (s *stage) nginx(plain, secure string) *exec.Cmd {
	conf := filepath.Join(s.dir, "nginx.conf")
	s.write(conf, fmt.Appendf(nil, `daemon off; pid %[1]s/nginx.pid; error_log stderr crit; worker_processes auto;
events { worker_connections 16384; }
http {
	access_log off; keepalive_requests 1000000000; server_tokens off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	upstream instance { server %[2]s; keepalive 256; keepalive_requests 1000000000; }
	server {
		listen %[3]s; listen %[4]s ssl http2; server_name %[5]s;
		ssl_certificate %[6]s; ssl_certificate_key %[7]s; ssl_protocols TLSv1.2 TLSv1.3;
		location / {
			proxy_pass http://instance; proxy_http_version 1.1; proxy_buffering off;
			proxy_set_header Connection ""; proxy_set_header Host $host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Request-Id $request_id;
		}
	}
}`, s.dir, s.instance, plain, secure, benchHost, s.cert, s.key))
	return exec.Command("nginx", "-c", conf, "-e", "stderr")
}

func (s *stage) haproxy(plain, secure string) *exec.Cmd {
	conf := filepath.Join(s.dir, "haproxy.cfg")
	s.write(conf, fmt.Appendf(nil, `global
	maxconn 8000
defaults
	mode http
	timeout connect 1s
	timeout client 120s
	timeout server 120s
	option forwardfor
	http-reuse always
frontend users
	bind %s
	bind %s ssl crt %s/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2
	unique-id-format %%[uuid()]
	unique-id-header X-Request-Id
	http-request set-header X-Forwarded-Proto https if { ssl_fc }
	acl ours hdr(host) -i -m beg %s
	use_backend instances if ours
backend instances
	server i1 %s pool-max-conn 256
`, plain, secure, s.dir, benchHost, s.instance))
	return exec.Command("haproxy", "-db", "-q", "-f", conf)
}

func (s *stage) caddy(plain, secure string) *exec.Cmd {
	conf := filepath.Join(s.dir, "Caddyfile")
	_, plainPort, _ := net.SplitHostPort(plain)
	_, securePort, _ := net.SplitHostPort(secure)
	s.write(conf, fmt.Appendf(nil, `{
	admin off
	auto_https off
	log {
		level ERROR
	}
	storage file_system %[1]s
}
http://%[2]s:%[3]s {
	bind 127.0.0.1
	reverse_proxy %[4]s
}
https://%[2]s:%[5]s {
	bind 127.0.0.1
	tls %[6]s %[7]s
	reverse_proxy %[4]s
}
`, s.dir, benchHost, plainPort, s.instance, securePort, s.cert, s.key))
	cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", conf)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "XDG_DATA_HOME="+s.dir)
	return cmd
}

// cpu returns the CPU time that a process and its children have taken (proc(5): utime and stime).
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	total := time.Duration(0)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from the third field, the state
		if name != fmt.Sprintf("/proc/%d/stat", pid) && f[1] != strconv.Itoa(pid) {
			continue
		}
		for _, ticks := range f[11:13] {
			n, err := strconv.ParseInt(ticks, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			total += time.Duration(n) * time.Second / 100
		}
	}
	return total
}

// selfSigned returns a certificate for a name and its key, both PEM.
func selfSigned(t testing.TB, name string) (chain, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}
