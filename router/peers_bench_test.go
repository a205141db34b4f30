package router_test

import (
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// figures are what one run of a load generator says about one peer.
type figures struct {
	requests float64
	rate     float64       // requests per second
	cpu      time.Duration // of the peer, per request
	p50, p99 time.Duration
}

// load is a way to send requests.
type load struct {
	name string
	tool string
	run  func(s *stage, p *peer, d time.Duration) figures
}

// runTime is how long each peer is loaded at a time. Peers take turns, so that what else the machine
// does hits all of them.
const (
	runTime = 2 * time.Second
	rounds  = 2
)

// BenchmarkPeers puts the same load on the router and on others in turn.
func BenchmarkPeers(b *testing.B) {
	s := newStage(b)
	peers := s.peers()
	for _, l := range []load{
		{"http1-small", "wrk", wrk("/")},
		{"tls13-small", "h2load", h2load("https", "--h1", "-c64")},
		{"http2-small", "h2load", h2load("https", "-c16", "-m10")},
		{"http1-1MiB", "wrk", wrk("/large")},
		// About half of what the slowest machine we care about can relay, evenly.
		{"http1-half-load", "h2load", h2load("http", "--h1", "-c32", "--rps=200")},
	} {
		b.Run(l.name, func(b *testing.B) {
			if _, err := exec.LookPath(l.tool); err != nil {
				b.Skipf("%s is not installed (.ci/need bench installs it)", l.tool)
			}
			s := &stage{TB: b, dir: s.dir, instance: s.instance}
			sum := map[string][]figures{}
			for range rounds {
				for _, p := range peers {
					sum[p.name] = append(sum[p.name], l.run(s, p, runTime))
				}
			}
			report(b, peers, sum)
		})
	}
}

// report prints a line per peer, and the router's ratios to the others as the benchmark's figures.
func report(b *testing.B, peers []*peer, sum map[string][]figures) {
	mean := map[string]figures{}
	for _, p := range peers {
		var m figures
		for _, f := range sum[p.name] {
			m.rate += f.rate / rounds
			m.cpu += f.cpu / rounds
			m.p50 += f.p50 / rounds
			m.p99 += f.p99 / rounds
		}
		mean[p.name] = m
		b.Logf("%-13s %9.0f requests/s %7.2f us CPU/request  p50 %8s  p99 %8s", p.name, m.rate,
			float64(m.cpu.Nanoseconds())/1000, m.p50.Round(time.Microsecond), m.p99.Round(time.Microsecond))
	}
	ours := mean["apron"]
	b.ReportMetric(0, "ns/op") // of no meaning here
	b.ReportMetric(float64(ours.cpu.Nanoseconds())/1000, "us-cpu/request")
	b.ReportMetric(ours.rate, "requests/s")
	for _, p := range peers {
		if p.name == "apron" {
			continue
		}
		m := mean[p.name]
		b.ReportMetric(float64(ours.cpu)/float64(m.cpu), "cpu/"+p.name)
		b.ReportMetric(ours.rate/m.rate, "rate/"+p.name)
		if m.p99 > 0 {
			b.ReportMetric(float64(ours.p99)/float64(m.p99), "p99/"+p.name)
		}
	}
}

// measure runs a load generator and returns what it printed and the CPU time the peer took.
func (s *stage) measure(p *peer, cmd *exec.Cmd) (string, time.Duration) {
	before := cpu(s, p.pid)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out), cpu(s, p.pid) - before
}

// number returns the number in the first group of a pattern.
func (s *stage) number(pattern, text string) float64 {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		s.Fatalf("no %s in:\n%s", pattern, text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		s.Fatal(err)
	}
	return n
}

func (s *stage) duration(pattern, text string) time.Duration {
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		s.Fatalf("no %s in:\n%s", pattern, text)
	}
	d, err := time.ParseDuration(m[1])
	if err != nil {
		s.Fatal(err)
	}
	return d
}

// wrk keeps 64 connections busy.
func wrk(path string) func(*stage, *peer, time.Duration) figures {
	return func(s *stage, p *peer, d time.Duration) figures {
		_, port, _ := net.SplitHostPort(p.http)
		cmd := exec.Command("wrk", "-t1", "-c64", fmt.Sprintf("-d%ds", int(d.Seconds())), "--latency",
			"-H", "Host: "+benchHost+":"+port, "http://"+p.http+path)
		out, took := s.measure(p, cmd)
		if strings.Contains(out, "Non-2xx") || strings.Contains(out, "Socket errors") {
			s.Errorf("%s: %s", p.name, out)
		}
		f := figures{requests: s.number(`(\d+) requests in`, out), rate: s.number(`Requests/sec:\s+([\d.]+)`, out)}
		f.p50, f.p99 = s.duration(`(?m)^\s+50%\s+(\S+)`, out), s.duration(`(?m)^\s+99%\s+(\S+)`, out)
		f.cpu = time.Duration(float64(took) / f.requests)
		return f
	}
}

// h2load runs the load generator of that name, which in spite of it also speaks HTTP/1.
func h2load(scheme string, options ...string) func(*stage, *peer, time.Duration) figures {
	return func(s *stage, p *peer, d time.Duration) figures {
		addr := p.http
		if scheme == "https" {
			addr = p.https
		}
		_, port, _ := net.SplitHostPort(addr)
		log := filepath.Join(s.dir, "h2load.log")
		_ = os.Remove(log)
		args := append([]string{"-t1", fmt.Sprintf("-D%d", int(d.Seconds())), "--log-file=" + log, "--connect-to=" + addr}, options...)
		cmd := exec.Command("h2load", append(args, scheme+"://"+net.JoinHostPort(benchHost, port)+"/")...)
		out, took := s.measure(p, cmd)
		if n := s.number(`(\d+) 5xx`, out) + s.number(`(\d+) 4xx`, out); n > 0 {
			s.Errorf("%s: %s", p.name, out)
		}
		f := figures{requests: s.number(`done, (\d+) succeeded`, out), rate: s.number(`([\d.]+) req/s`, out)}
		f.cpu = time.Duration(float64(took) / f.requests)
		f.p50, f.p99 = s.percentiles(log)
		return f
	}
}

// percentiles reads a log of h2load: start time, status, microseconds.
func (s *stage) percentiles(log string) (p50, p99 time.Duration) {
	b, err := os.ReadFile(log)
	if err != nil {
		s.Fatal(err)
	}
	var times []time.Duration
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		us, err := strconv.Atoi(fields[len(fields)-1])
		if err != nil {
			s.Fatal(err)
		}
		times = append(times, time.Duration(us)*time.Microsecond)
	}
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[int(math.Ceil(q*float64(len(times))))-1] }
	return at(0.5), at(0.99)
}

// BenchmarkIdleConnections reports the memory that a user's idle connection takes.
func BenchmarkIdleConnections(b *testing.B) {
	for _, secure := range []bool{false, true} {
		name, conns := "plain", 10_000
		if secure {
			name, conns = "tls", 2_000
		}
		b.Run(name, func(b *testing.B) { measureIdle(b, secure, conns) })
	}
}

func measureIdle(b *testing.B, secure bool, conns int) {
	s := newStage(b)
	p := &peer{http: freeAddr(b), https: freeAddr(b)}
	cmd := s.router(p.http, p.https)
	s.begin(cmd)
	p.pid = cmd.Process.Pid
	s.awaitPeer(p)
	before := resident(b, p.pid)
	buf := make([]byte, 4096)
	open := make([]net.Conn, 0, conns)
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range conns {
		var c net.Conn
		var err error
		if secure {
			c, err = tls.Dial("tcp", p.https, &tls.Config{InsecureSkipVerify: true})
		} else {
			c, err = net.Dial("tcp", p.http)
		}
		if err != nil {
			b.Fatal(err)
		}
		open = append(open, c)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", benchHost)
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op") // of no meaning here
	b.ReportMetric(float64(resident(b, p.pid)-before)/float64(conns), "bytes/connection")
}

// resident returns the memory of a process (proc(5): VmRSS).
func resident(t testing.TB, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(b)
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
