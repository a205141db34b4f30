package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"golang.org/x/sys/unix"
)

// BenchmarkIdle runs 200 instances that nobody asks anything, with App Runner's default health check,
// and reports what share of a core the platform uses for them: each of its three processes, and all
// shims together. What the applications use is not counted. A run is a second; give it many
// (-benchtime 30x).
func BenchmarkIdle(b *testing.B) {
	for _, protocol := range []types.HealthCheckProtocol{types.HealthCheckProtocolTcp, types.HealthCheckProtocolHttp} {
		b.Run(string(protocol), func(b *testing.B) {
			h := newHome(b)
			h.crowd(b, 8, 25, protocol)
			kinds := map[string][]int{
				"serve": {h.pid(b, "serve")}, "router": {h.pid(b, "router")}, "engine": {h.pid(b, "engine")},
				"shims": slices.Collect(maps.Keys(shims(h.data))),
			}
			if n := len(kinds["shims"]); n != 200 {
				b.Fatalf("%d instances run, want 200", n)
			}
			time.Sleep(6 * time.Second) // what starting them left to do has ended by then
			before, start := processorTimes(b, kinds), time.Now()
			for b.Loop() {
				time.Sleep(time.Second) // that is what is measured
			}
			after, watched := processorTimes(b, kinds), time.Since(start)
			var total time.Duration
			for kind := range kinds {
				spent := after[kind] - before[kind]
				b.ReportMetric(100*spent.Seconds()/watched.Seconds(), "%-"+kind)
				total += spent
			}
			b.ReportMetric(100*total.Seconds()/watched.Seconds(), "%-of-a-core")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// crowd runs services with so many instances each.
func (h *home) crowd(b *testing.B, services int, each int32, protocol types.HealthCheckProtocol) {
	b.Helper()
	image := h.push(b)
	asc, err := h.client.CreateAutoScalingConfiguration(b.Context(), &apprunner.CreateAutoScalingConfigurationInput{
		AutoScalingConfigurationName: aws.String("crowd"), MinSize: aws.Int32(each), MaxSize: aws.Int32(each),
	})
	if err != nil {
		b.Fatal(err)
	}
	var made []*types.Service
	for n := range services {
		in := input(fmt.Sprintf("web-%d", n), image, nil)
		in.AutoScalingConfigurationArn = asc.AutoScalingConfiguration.AutoScalingConfigurationArn
		in.HealthCheckConfiguration = &types.HealthCheckConfiguration{Protocol: protocol}
		made = append(made, h.create(b, in))
	}
	for _, svc := range made {
		if svc = h.settled(b, svc.ServiceArn); svc.Status != types.ServiceStatusRunning {
			b.Fatalf("service is %s; events:\n%s", svc.Status, h.events(b, svc))
		}
	}
}

// processorTimes returns what the processes of each kind have used of the processor, to the nanosecond
// (clock_getcpuclockid(3)): a tick of the accounting in /proc is long for a shim.
func processorTimes(b *testing.B, kinds map[string][]int) map[string]time.Duration {
	b.Helper()
	const schedClock = 2 // CPUCLOCK_SCHED, of a whole process
	used := map[string]time.Duration{}
	for kind, pids := range kinds {
		for _, pid := range pids {
			var at unix.Timespec
			if err := unix.ClockGettime(int32(^pid<<3|schedClock), &at); err != nil {
				b.Fatal(err)
			}
			used[kind] += time.Duration(at.Nano())
		}
	}
	return used
}
