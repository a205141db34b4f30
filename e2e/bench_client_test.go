package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"golang.org/x/sys/unix"
)

// loadRole is the test binary's as a client: "load URL HOST".
const loadRole = "load"

// latencies starts a client that visits the service neighbourRate times a second, in a process of its own.
// The function it returns ends that and returns how long each visit took.
func (h *home) latencies(b *testing.B, svc *types.Service) func() []time.Duration {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0], loadRole, "http://"+h.local.HTTP+"/", aws.ToString(svc.ServiceUrl))
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	stop, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	return func() (took []time.Duration) {
		b.Helper()
		_ = stop.Close()
		if err := cmd.Wait(); err != nil {
			b.Fatalf("the client: %v\n%s", err, said.String())
		}
		for line := range strings.Lines(out.String()) {
			ns, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Duration(ns))
		}
		return took
	}
}

// playLoad visits a service until in ends, when it is a visit's turn and not when the one before has been
// answered, and prints how many nanoseconds each took. Clients are on other machines and do not wait for
// this one's processors: it has real-time priority, and what it measures is the way through the router,
// the instance and back. Nor do they take them from anybody: it looks for no work on other processors,
// and leaves its garbage.
func playLoad(in io.Reader, out io.Writer, args []string) error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	if err := realTime(); err != nil {
		return fmt.Errorf("real-time priority: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: loadClients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var mu sync.Mutex // guards took and failed
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / neighbourRate)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		wg.Go(func() {
			start := time.Now()
			err := visit(context.WithoutCancel(ctx), client, args[0], args[1])
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, time.Since(start)); err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	for _, d := range took {
		fmt.Fprintln(out, d.Nanoseconds())
	}
	return failed
}

// realTime has every thread of this process, and those they make, run before all that have no such
// priority.
func realTime() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		if err := unix.SchedSetAttr(id, attr, 0); err != nil {
			return err
		}
	}
	return nil
}
