package deploy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"apron"
	"apron/engine/enginetest"
)

// user returns an HTTP client that resolves every host to the router.
func (w *world) user() *http.Client {
	w.Helper()
	addrs, err := w.plane.client.Addresses(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	tr := &http.Transport{
		MaxIdleConnsPerHost: 100, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addrs.HTTP)
		},
	}
	w.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// says is an application that answers every request with text.
func says(text string) enginetest.Behaviour {
	return enginetest.Behaviour{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte(text))
	})}
}

// exits is an application that ends at once.
func exits() enginetest.Behaviour {
	return enginetest.Behaviour{Exits: true, Code: 3, Log: []string{"cannot go on"}}
}

// get asks the service and returns what it answered, or the status if that is not 200.
func (w *world) get(svc apron.Service) string {
	w.Helper()
	body, err := w.try(svc)
	if err != nil {
		w.Fatal(err)
	}
	return body
}

func (w *world) try(svc apron.Service) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+svc.Host+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprint(resp.StatusCode), nil
	}
	return string(body), nil
}

// load asks the service from several clients until the returned func is called, which fails the
// test for every request that was not answered 200, and returns how many were made.
func (w *world) load(svc apron.Service, clients int) (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total int
		bad   []string
	)
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				got, err := w.try(svc)
				mu.Lock()
				total++
				if err != nil || !strings.HasPrefix(got, "v") {
					bad = append(bad, fmt.Sprintf("%s %v", got, err))
				}
				mu.Unlock()
			}
		})
	}
	stop = sync.OnceValue(func() int {
		cancel()
		wg.Wait()
		if len(bad) > 0 {
			w.Errorf("%d of %d requests failed: %v", len(bad), total, bad[:min(5, len(bad))])
		}
		return total
	})
	w.Cleanup(func() { stop() })
	return stop
}
