// Command hello is the sample application that make up deploys: a page that says which instance
// answered, and since when it runs.
//
// It is what App Runner expects of an application and no more: it listens on $PORT, answers its
// health check, writes its log to standard output and ends cleanly on SIGTERM.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, log, ":"+cmp.Or(os.Getenv("PORT"), "8080")); err != nil {
		log.Error("hello ends", "err", err)
		os.Exit(1)
	}
}

// run serves on addr until ctx is done, and then until the requests in flight are answered.
func run(ctx context.Context, log *slog.Logger, addr string) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host name: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	srv := &http.Server{
		Handler:           logged(log, newHandler(greeting{Host: host, Started: time.Now().UTC()})),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	log.Info("hello listens", "addr", listener.Addr().String(), "host", host)

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("hello stops")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return fmt.Errorf("finish the requests in flight: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// greeting is what the page says about the instance that answers.
type greeting struct {
	Host    string
	Started time.Time // UTC
}

// newHandler serves the page at /, and at /healthz a short answer for health checks.
func newHandler(g greeting) http.Handler {
	page := template.Must(template.New("page").Parse(pageHTML))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = page.Execute(w, g) // fails only when the client is gone
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// logged writes one line per request to log.
func logged(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		answer := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answer, r)
		log.Info("request", "method", r.Method, "path", r.URL.Path, "status", answer.status,
			"client", cmp.Or(r.Header.Get("X-Forwarded-For"), r.RemoteAddr), "took", time.Since(begin))
	})
}

// recorder remembers the status a handler answered with.
type recorder struct {
	http.ResponseWriter

	status int
}

// WriteHeader remembers status and sends it.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

const pageHTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hello from Apron</title>
<style>
  body { font: 1.1rem/1.6 system-ui, sans-serif; margin: 15vh auto; max-width: 34rem; padding: 0 1rem; color: #16191f }
  h1 { margin-bottom: 0 }
  code { background: #f2f3f3; border-radius: 4px; padding: .1em .4em }
</style>
</head>
<body>
<h1>It works.</h1>
<p>Instance <code>{{.Host}}</code> answered. It has been running since
<time datetime="{{.Started.Format "2006-01-02T15:04:05Z"}}">{{.Started.Format "2 January 2006, 15:04:05"}} UTC</time>.</p>
</body>
</html>
`
