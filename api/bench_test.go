package api_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/api"
	"apron/control"
	"apron/store"
)

func quiet(c *api.Config) { c.Log = slog.New(slog.DiscardHandler) }

// BenchmarkDescribeService is a signed call from the front door to the store and back.
func BenchmarkDescribeService(b *testing.B) {
	f := newFront(b, quiet)
	f.measure(b, "DescribeService", []string{serviceARN(f.create(b, "web-app"))})
}

// BenchmarkDescribeService10k describes services all over a store of 10,000. To hold: 2,000 calls a
// second on one core, 99 of 100 within 3 ms.
func BenchmarkDescribeService10k(b *testing.B) {
	f := newFront(b, quiet)
	arns := f.fill(b, 10_000)
	var bodies []string
	for i := 0; i < len(arns); i += 37 {
		bodies = append(bodies, serviceARN(arns[i]))
	}
	f.measure(b, "DescribeService", bodies)
}

// BenchmarkListServicesPage10k reads full pages all over a list of 10,000. To hold: 99 of 100 within
// 10 ms.
func BenchmarkListServicesPage10k(b *testing.B) {
	f := newFront(b, quiet)
	f.fill(b, 10_000)
	bodies, token := []string{}, ""
	for i := 0; ; i++ {
		body := `{"MaxResults":20` + token + `}`
		if i%37 == 0 {
			bodies = append(bodies, body)
		}
		page := f.ok(b, "ListServices", body)
		if page.at("NextToken") == nil {
			break
		}
		token = `,"NextToken":"` + page.text("NextToken") + `"`
	}
	f.measure(b, "ListServices", bodies)
}

// fill makes n running services like the one a client makes, and returns their ARNs.
func (f *front) fill(b *testing.B, n int) []string {
	b.Helper()
	f.create(b, "web-app")
	scope := apron.Scope{Account: account, Region: region}
	list, _, err := f.control.Services(b.Context(), scope, control.Page{})
	if err != nil {
		b.Fatal(err)
	}
	svc, arns := list[0], []string{list[0].ARN().String()}
	for len(arns) < n {
		err := f.store.Tx(b.Context(), func(tx *store.Tx) error {
			for range min(1000, n-len(arns)) {
				svc.ID, svc.Name = apron.ServiceID(fmt.Sprintf("%032x", len(arns))), fmt.Sprintf("service-%d", len(arns))
				svc.Host = fmt.Sprintf("%010d.us-east-1.example.com", len(arns))
				svc.Status, svc.CreatedAt = apron.ServiceRunning, svc.CreatedAt.Add(time.Millisecond)
				if err := tx.InsertService(b.Context(), svc, nil); err != nil {
					return err
				}
				arns = append(arns, svc.ARN().String())
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return arns
}

// measure sends signed requests, one after the other, and reports the time that 99 of 100 keep.
func (f *front) measure(b *testing.B, action string, bodies []string) {
	b.Helper()
	requests := make([]*http.Request, len(bodies))
	for i, body := range bodies {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", http.NoBody)
		r.Header.Set("X-Amz-Target", "AppRunner."+action)
		sign(b, signing{r: r, key: keyID, region: region, service: "apprunner", at: f.clock()}, body)
		requests[i] = r
	}
	took := make([]time.Duration, 0, 1<<20)
	b.ReportAllocs()
	for b.Loop() {
		n := len(took) % len(bodies)
		call := *requests[n]
		call.Body, call.ContentLength = readCloser{strings.NewReader(bodies[n])}, int64(len(bodies[n]))
		w := httptest.NewRecorder()
		start := time.Now()
		f.ServeHTTP(w, &call)
		took = append(took, time.Since(start))
		if w.Code != http.StatusOK || !bytes.HasPrefix(w.Body.Bytes(), []byte("{")) {
			b.Fatal(w.Body)
		}
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// BenchmarkDecode is the JSON and constraints of a large CreateService.
func BenchmarkDecode(b *testing.B) {
	body := []byte(image(`"Port":"80","RuntimeEnvironmentVariables":{"A":"` + strings.Repeat("x", 1000) + `","B":"2","C":"3"}`))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := api.Decode("CreateService", body); err != nil {
			b.Fatal(err)
		}
	}
}
