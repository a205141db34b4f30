package e2e_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

// BenchmarkCreate measures from the call of CreateService, image in the embedded registry, to the
// first 200 from its URL, and the delete that follows.
func BenchmarkCreate(b *testing.B) {
	h := newHome(b)
	image := h.push(b)
	var creates, deletes []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		svc := h.create(b, input(fmt.Sprintf("bench-%04d", i), image, nil))
		// Not in a tight loop, which would take the CPU from what is measured.
		poll(b, 5*time.Millisecond, "the first 200", func() bool {
			status, _, err := h.get(b.Context(), svc, "/")
			return err == nil && status == http.StatusOK
		})
		creates = append(creates, time.Since(start))
		h.settled(b, svc.ServiceArn)
		start = time.Now()
		h.remove(b, svc)
		deletes = append(deletes, time.Since(start))
	}
	report(b, creates, "create")
	report(b, deletes, "delete")
}

// BenchmarkFailedImage measures from the call of CreateService to CREATE_FAILED for an image whose
// process ends at once.
func BenchmarkFailedImage(b *testing.B) {
	h := newHome(b)
	image := h.push(b)
	var times []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		svc := h.settled(b, h.create(b, input(fmt.Sprintf("bench-%04d", i), image, map[string]string{"MODE": "exit", "CODE": "1"})).ServiceArn)
		if svc.Status != types.ServiceStatusCreateFailed {
			b.Fatalf("service is %s", svc.Status)
		}
		times = append(times, time.Since(start))
		h.remove(b, svc)
	}
	report(b, times, "failed")
}

// BenchmarkIdleMemory reports the proportional set size of the three processes with no services.
// Build the benchmark without the race detector for figures that mean something; the processes
// are those of the test binary, a little larger than the real one.
func BenchmarkIdleMemory(b *testing.B) {
	h := newHome(b)
	var total float64
	for b.Loop() {
		total = 0
		for _, role := range []string{"serve", "router", "engine"} {
			mib := pssMiB(b, h.pid(b, role))
			total += mib
			b.ReportMetric(mib, role+"-MiB")
		}
	}
	b.ReportMetric(total, "total-MiB")
}

// report gives the median and the 95th percentile.
func report(b *testing.B, times []time.Duration, what string) {
	b.Helper()
	slices.Sort(times)
	at := func(q float64) float64 {
		return float64(times[int(q*float64(len(times)-1)+0.5)].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), what+"-p50-ms")
	b.ReportMetric(at(0.95), what+"-p95-ms")
}

// pssMiB reads the proportional set size of a process.
func pssMiB(b *testing.B, pid int) float64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if rest, ok := strings.CutPrefix(sc.Text(), "Pss:"); ok {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				b.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	b.Fatal("smaps_rollup has no Pss line")
	return 0
}
