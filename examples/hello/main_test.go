package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHandler(t *testing.T) {
	started := time.Date(2026, 11, 23, 4, 5, 6, 0, time.UTC)
	var lines strings.Builder
	h := logged(slog.New(slog.NewTextHandler(&lines, nil)), newHandler(greeting{Host: "i-<1>", Started: started}))
	tests := []struct {
		method, path string
		status       int
		body         string // part of the answer
	}{
		{"GET", "/", http.StatusOK, "<code>i-&lt;1&gt;</code>"},
		{"GET", "/", http.StatusOK, `datetime="2026-11-23T04:05:06Z"`},
		{"HEAD", "/", http.StatusOK, ""},
		{"GET", "/healthz", http.StatusOK, "ok\n"},
		{"POST", "/", http.StatusMethodNotAllowed, ""},
		{"GET", "/absent", http.StatusNotFound, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			lines.Reset()
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil))
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
				t.Errorf("got %d %q, want %d with %q", w.Code, w.Body.String(), tt.status, tt.body)
			}
			if got := strings.Count(lines.String(), "\n"); got != 1 {
				t.Errorf("got %d log lines, want 1: %q", got, lines.String())
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pr, pw := io.Pipe() // the log: the first line says that it listens
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, slog.New(slog.NewTextHandler(pw, nil)), "127.0.0.1:0")
		pw.Close()
	}()

	buf := make([]byte, 1024)
	n, err := pr.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(buf[:n]), "addr=")
	addr, _, _ := strings.Cut(after, " ")
	var rest sync.WaitGroup
	rest.Go(func() { _, _ = io.Copy(io.Discard, pr) })
	defer rest.Wait()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("got %s, want 200", resp.Status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := run(t.Context(), slog.New(slog.DiscardHandler), "127.0.0.1:-1"); err == nil {
		t.Error("run on an impossible address succeeded")
	}
}
