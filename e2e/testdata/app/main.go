// Command app is the application the end-to-end tests deploy. MODE says how it behaves: serve
// (default), exit (ends at once with CODE after writing a line), stubborn (serves and does not end when
// asked to, as Node.js does when it is the first process), hungry (takes all the memory there is), deaf (runs but never listens), astray (listens on another port), sick
// (answers everything 503).
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 2 && os.Args[1] == "copy" { // what apron exec runs: standard input back, then an exit code
		fmt.Fprintln(os.Stderr, "copying")
		_, _ = io.Copy(os.Stdout, os.Stdin)
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	}
	switch os.Getenv("MODE") {
	case "exit":
		fmt.Println("cannot reach the database")
		code, _ := strconv.Atoi(os.Getenv("CODE"))
		os.Exit(code)
	case "hungry":
		fmt.Println("more memory, please")
		for taken := [][]byte{}; ; {
			taken = append(taken, bytes.Repeat([]byte{1}, 16<<20))
		}
	case "stubborn":
		serve(context.WithoutCancel(ctx))
	case "astray":
		_ = os.Setenv("PORT", "9090")
		serve(ctx)
	case "sick":
		fmt.Println("not feeling well")
		srv := &http.Server{Addr: ":" + os.Getenv("PORT"), ReadHeaderTimeout: 10 * time.Second}
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		go func() { <-ctx.Done(); _ = srv.Close() }()
		_ = srv.ListenAndServe()
	case "deaf":
		fmt.Println("running, but not listening")
		<-ctx.Done()
	default:
		serve(ctx)
	}
}

func serve(ctx context.Context) {
	mux := http.NewServeMux()
	host, _ := os.Hostname()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "version=%s pid=%d instance=%s proto=%s for=%s\n", os.Getenv("VERSION"), os.Getpid(), host,
			r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-For"))
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.URL.Query().Get("for"))
		w.(http.Flusher).Flush() // tells the client that the request has arrived
		select {
		case <-time.After(d):
			fmt.Fprintln(w, "version="+os.Getenv("VERSION"), "at last")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, host)
		for _, e := range os.Environ() {
			fmt.Fprintln(w, e)
		}
	})
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) {
		fmt.Println("asked to crash")
		os.Exit(3)
	})
	srv := &http.Server{Addr: ":" + os.Getenv("PORT"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		soft, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = srv.Shutdown(soft)
	}()
	fmt.Println("listening on", srv.Addr)
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Println(err)
		os.Exit(1)
	}
}
