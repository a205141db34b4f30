package health_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"apron"
	"apron/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addrOf(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestCheckHTTP(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/created":
			w.WriteHeader(http.StatusCreated)
		case "/hang":
			<-r.Context().Done()
		case "/query":
			if r.URL.RawQuery != "a=b" {
				w.WriteHeader(http.StatusBadRequest)
			}
		case "/endless":
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		case "/rude":
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(srv.Close)
	addr := addrOf(t, strings.TrimPrefix(srv.URL, "http://"))
	for path, row := range map[string]struct {
		ok     bool
		answer string
	}{
		"/":          {true, "status 200"},
		"/query?a=b": {true, "status 200"},
		"/moved":     {false, "status 302"},
		"/created":   {false, "status 201"},
		"/hang":      {false, "no answer within 200ms"},
		"/endless":   {true, "status 200"},
		"/rude":      {false, "closed without an answer"},
		"/%zz":       {false, "not valid"},
	} {
		check := apron.HealthCheck{Protocol: apron.HealthCheckHTTP, Path: path, Timeout: 200 * time.Millisecond}
		got := health.Check(t.Context(), check, addr)
		if got.OK != row.ok || !strings.Contains(got.Answer, row.answer) {
			t.Errorf("%s: %+v, want %v and %q", path, got, row.ok, row.answer)
		}
	}
}

func TestCheckTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := addrOf(t, l.Addr().String())
	check := apron.DefaultHealthCheck()
	if got := health.Check(t.Context(), check, addr); !got.OK {
		t.Errorf("listening: %+v", got)
	}
	l.Close()
	if got := health.Check(t.Context(), check, addr); got.OK || !strings.Contains(got.Answer, "connection refused") {
		t.Errorf("closed: %+v", got)
	}
}

func TestVerdict(t *testing.T) {
	check := apron.HealthCheck{HealthyThreshold: 2, UnhealthyThreshold: 3}
	for name, row := range map[string]struct {
		probes string // y: passed, n: failed
		want   health.Status
	}{
		"none":                  {"", health.Starting},
		"failures do not count": {"nnnnnnnn", health.Starting},
		"one pass":              {"y", health.Starting},
		"passes interrupted":    {"yny", health.Starting},
		"enough passes":         {"nyy", health.Healthy},
		"some failures":         {"yynn", health.Healthy},
		"failures interrupted":  {"yynnynn", health.Healthy},
		"enough failures":       {"yynnn", health.Unhealthy},
		"no way back":           {"yynnnyyyy", health.Unhealthy},
	} {
		var v health.Verdict
		for _, p := range row.probes {
			v = v.Next(check, p == 'y')
		}
		if v.Status != row.want {
			t.Errorf("%s: %v, want %v", name, v.Status, row.want)
		}
	}
	if v := (health.Verdict{}).Next(apron.HealthCheck{}, true); v.Status != health.Healthy {
		t.Errorf("zero thresholds: %v, want Healthy after one pass", v.Status)
	}
}

func TestPace(t *testing.T) {
	check := apron.HealthCheck{Interval: 5 * time.Second}
	for age, want := range map[time.Duration]time.Duration{
		0: 2 * time.Millisecond, 100 * time.Millisecond: 5 * time.Millisecond, 499 * time.Millisecond: 10 * time.Millisecond,
		500 * time.Millisecond: 20 * time.Millisecond, 10 * time.Second: 200 * time.Millisecond,
		time.Hour: 5 * time.Second,
	} {
		if got := health.Pace(check, health.Starting, age); got != want {
			t.Errorf("starting at %s: %s, want %s", age, got, want)
		}
	}
	if got := health.Pace(check, health.Healthy, 0); got != check.Interval {
		t.Errorf("healthy: %s, want the interval", got)
	}
}

func TestFollow(t *testing.T) {
	var sick, served atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		if sick.Load() > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	addr := addrOf(t, srv.Listener.Addr().String())
	t.Cleanup(srv.Close)
	check := apron.HealthCheck{
		Protocol: apron.HealthCheckHTTP, Path: "/", Interval: 5 * time.Millisecond, Timeout: 50 * time.Millisecond,
		HealthyThreshold: 2, UnhealthyThreshold: 2,
	}
	var statuses []health.Status
	err := health.Follow(t.Context(), check, addr, health.Starting, func(r health.Report) {
		statuses = append(statuses, r.Status)
		switch r.Status {
		case health.Starting:
			srv.Start() // it has heard no answer; let there be one
		case health.Healthy:
			sick.Store(1)
		case health.Unhealthy:
		}
	})
	if err != nil {
		t.Errorf("Follow ended with %v", err)
	}
	if diff := cmp.Diff([]health.Status{health.Starting, health.Healthy, health.Unhealthy}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if n := served.Load(); n < 4 {
		t.Errorf("made %d probes, want at least the thresholds'", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := health.Follow(ctx, check, addr, health.Healthy, func(health.Report) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("Follow of a done context ended with %v", err)
	}
}
