package api_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"apron/api"
)

// BenchmarkDescribeService is a signed call from the front door to the store and back.
func BenchmarkDescribeService(b *testing.B) {
	f := newFront(b, func(c *api.Config) { c.Log = slog.New(slog.DiscardHandler) })
	body := `{"ServiceArn":"` + f.create(b, "web-app") + `"}`
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", http.NoBody)
	r.Header.Set("X-Amz-Target", "AppRunner.DescribeService")
	sign(b, signing{r: r, key: keyID, region: region, service: "apprunner", at: epoch}, body)
	b.ReportAllocs()
	for b.Loop() {
		call := *r
		call.Body, call.ContentLength = readCloser{strings.NewReader(body)}, int64(len(body))
		w := httptest.NewRecorder()
		f.ServeHTTP(w, &call)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
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
