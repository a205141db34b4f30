package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

// Load of the test below.
const (
	requestRate  = 1000 // requests per second, on kept connections
	loadClients  = 20
	slowClients  = 4
	slowRequest  = 700 * time.Millisecond // longer than an update takes
	updatesInRow = 10
)

// steady sends requestRate requests a second to path over kept connections until ctx is done, from
// clients that each wait for their answer. It counts answers, and reports those that are no success.
func (h *home) steady(ctx context.Context, t *testing.T, svc *types.Service, answered *atomic.Int64) {
	transport := &http.Transport{MaxIdleConnsPerHost: loadClients, MaxConnsPerHost: loadClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	defer wg.Wait()
	turns := make(chan struct{}, requestRate) // requests that are due
	for range loadClients {
		wg.Go(func() {
			for range turns {
				ask(ctx, t, client, h.local.HTTP, aws.ToString(svc.ServiceUrl), "/", answered)
			}
		})
	}
	defer close(turns)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for range requestRate / 100 {
				select {
				case turns <- struct{}{}:
				default: // the clients are behind: the rate is what the machine can do
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// slowly sends requests that take longer than an update, one after the other, until ctx is done; the
// last one is waited for.
func (h *home) slowly(ctx context.Context, t *testing.T, svc *types.Service, answered *atomic.Int64) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for ctx.Err() == nil {
		ask(context.WithoutCancel(ctx), t, client, h.local.HTTP, aws.ToString(svc.ServiceUrl), "/slow?for="+slowRequest.String(), answered)
	}
}

func ask(ctx context.Context, t *testing.T, client *http.Client, addr, host, path string, answered *atomic.Int64) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Error(err)
		return
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		t.Errorf("request failed: %v", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "version=") {
		t.Errorf("request failed: %d %q, %v", resp.StatusCode, body, err)
	}
	answered.Add(1)
}

// TestTenUpdatesUnderLoad replaces a version ten times in a row under 1,000 requests a second and
// requests that are still running when the routes have switched. None fails.
func TestTenUpdatesUnderLoad(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	svc := h.running(t, input("web1", image, map[string]string{"VERSION": "0"}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var fast, slow atomic.Int64
	site := &home{local: h.local}
	wg.Go(func() { site.steady(ctx, t, svc, &fast) })
	for range slowClients {
		wg.Go(func() { site.slowly(ctx, t, svc, &slow) })
	}
	started := time.Now()
	for n := 1; n <= updatesInRow; n++ {
		if svc := h.updated(t, svc, image, map[string]string{"VERSION": fmt.Sprint(n)}); svc.Status != types.ServiceStatusRunning {
			t.Errorf("service is %s", svc.Status)
		}
		h.answers(t, svc, fmt.Sprintf("version=%d ", n))
	}
	took := time.Since(started)
	cancel()
	wg.Wait()
	for _, op := range h.operations(t, svc) {
		if op.Status != types.OperationStatusSucceeded {
			t.Errorf("operation %s is %s", op.Type, op.Status)
		}
	}
	t.Logf("%d updates in %s, %d fast requests (%.0f/s), %d slow ones", updatesInRow, took.Round(time.Millisecond),
		fast.Load(), float64(fast.Load())/took.Seconds(), slow.Load())
}
