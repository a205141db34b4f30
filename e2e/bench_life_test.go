package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

// measured returns how long do and the operation it begins take.
func (h *home) measured(b *testing.B, svc *types.Service, want types.ServiceStatus, do func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := do(); err != nil {
		b.Fatal(err)
	}
	// Not in a tight loop, which would take the CPU from what is measured.
	poll(b, 5*time.Millisecond, "the operation to end", func() bool {
		out, err := h.client.DescribeService(b.Context(), &apprunner.DescribeServiceInput{ServiceArn: svc.ServiceArn})
		if err != nil {
			b.Fatal(err)
		}
		return out.Service.Status == want
	})
	return time.Since(start)
}

// update returns a func that updates the service's environment.
func (h *home) update(b *testing.B, svc *types.Service, image string, env map[string]string) func() error {
	return func() error {
		_, err := h.client.UpdateService(b.Context(), &apprunner.UpdateServiceInput{
			ServiceArn: svc.ServiceArn, SourceConfiguration: input("", image, env).SourceConfiguration,
		})
		return err
	}
}

// BenchmarkOperations measures update, start-deployment, pause and resume, from the call to the end of
// the operation.
func BenchmarkOperations(b *testing.B) {
	h := newHome(b)
	image := h.push(b)
	svc := h.running(b, input("web1", image, nil))
	var updates, deployments, pauses, resumes []time.Duration
	for i := 0; b.Loop(); i++ {
		updates = append(updates, h.measured(b, svc, types.ServiceStatusRunning,
			h.update(b, svc, image, map[string]string{"VERSION": fmt.Sprint(i)})))
		deployments = append(deployments, h.measured(b, svc, types.ServiceStatusRunning, func() error {
			_, err := h.client.StartDeployment(b.Context(), &apprunner.StartDeploymentInput{ServiceArn: svc.ServiceArn})
			return err
		}))
		pauses = append(pauses, h.measured(b, svc, types.ServiceStatusPaused, func() error {
			_, err := h.client.PauseService(b.Context(), &apprunner.PauseServiceInput{ServiceArn: svc.ServiceArn})
			return err
		}))
		resumes = append(resumes, h.measured(b, svc, types.ServiceStatusRunning, func() error {
			_, err := h.client.ResumeService(b.Context(), &apprunner.ResumeServiceInput{ServiceArn: svc.ServiceArn})
			return err
		}))
	}
	report(b, updates, "update")
	report(b, deployments, "deploy")
	report(b, pauses, "pause")
	report(b, resumes, "resume")
}

// BenchmarkFailedUpdate measures from the call of UpdateService to the end of the rollback, for a version
// whose process ends at once: the time after its end is less than that.
func BenchmarkFailedUpdate(b *testing.B) {
	h := newHome(b)
	image := h.push(b)
	svc := h.running(b, input("web1", image, nil))
	var times []time.Duration
	for b.Loop() {
		times = append(times, h.measured(b, svc, types.ServiceStatusRunning,
			h.update(b, svc, image, map[string]string{"MODE": "exit", "CODE": "1"})))
		if ops := h.operations(b, svc); ops[0].Status != types.OperationStatusRollbackSucceeded {
			b.Fatalf("operation is %s", ops[0].Status)
		}
	}
	report(b, times, "rollback")
}

// BenchmarkPush measures from the end of a push to the embedded registry to the end of the deployment
// that follows from it.
func BenchmarkPush(b *testing.B) {
	h := newHome(b)
	svc := h.running(b, input("web1", h.push(b), nil))
	var times []time.Duration
	for port := uint16(9000); b.Loop(); port++ {
		digest := h.pushVersion(b, port)
		start := time.Now()
		h.serves(b, svc, digest)
		times = append(times, time.Since(start))
	}
	report(b, times, "push")
}

// BenchmarkServerKilled measures from the SIGKILL of serve, with 50 instances under load, until the next
// one is ready. No request may fail, and no instance be another afterwards.
func BenchmarkServerKilled(b *testing.B) {
	h := newHome(b)
	image := h.push(b)
	asc, err := h.client.CreateAutoScalingConfiguration(b.Context(), &apprunner.CreateAutoScalingConfigurationInput{
		AutoScalingConfigurationName: aws.String("many"), MinSize: aws.Int32(25), MaxSize: aws.Int32(25),
	})
	if err != nil {
		b.Fatal(err)
	}
	var services []*types.Service
	for n := range 2 {
		in := input(fmt.Sprintf("web-%d", n), image, nil)
		in.AutoScalingConfigurationArn = asc.AutoScalingConfiguration.AutoScalingConfigurationArn
		services = append(services, h.running(b, in))
	}
	before := shims(h.data)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	site := &home{local: h.local}
	for _, svc := range services {
		wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond) // a load, but not one that is measured
			defer tick.Stop()
			for ; ctx.Err() == nil; <-tick.C {
				status, _, err := site.get(ctx, svc, "/")
				if !errors.Is(err, context.Canceled) && (err != nil || status != http.StatusOK) {
					b.Errorf("request failed: %d, %v", status, err)
				}
			}
		})
	}
	var times []time.Duration
	for b.Loop() {
		start := time.Now()
		h.kill(b, "serve")
		h.start(b)
		times = append(times, time.Since(start))
	}
	cancel()
	wg.Wait()
	if after := shims(h.data); !maps.Equal(before, after) || len(after) != 50 {
		b.Errorf("%d instances before, %d after, or others", len(before), len(after))
	}
	report(b, times, "restart")
}

// BenchmarkHundredServices creates a hundred services at once, and measures how long it takes until all
// of them run, and what calls of the API take meanwhile.
func BenchmarkHundredServices(b *testing.B) {
	const services = 100
	h := newHome(b)
	image := h.push(b)
	var times, calls []time.Duration
	for round := 0; b.Loop(); round++ {
		start := time.Now()
		arns := make([]*string, services)
		var creates sync.WaitGroup
		for n := range services {
			creates.Go(func() {
				out, err := h.client.CreateService(b.Context(), input(fmt.Sprintf("web-%d-%d", round, n), image, nil))
				if err != nil {
					b.Error(err)
					return
				}
				arns[n] = out.Service.ServiceArn
			})
		}
		creates.Wait()
		if b.Failed() {
			return
		}
		tick := time.NewTicker(5 * time.Millisecond)
		for pending := slices.Clone(arns); len(pending) > 0; <-tick.C {
			call := time.Now()
			out, err := h.client.DescribeService(b.Context(), &apprunner.DescribeServiceInput{ServiceArn: pending[0]})
			calls = append(calls, time.Since(call))
			switch {
			case err != nil:
				b.Fatal(err)
			case out.Service.Status == types.ServiceStatusRunning:
				pending = pending[1:]
			case out.Service.Status != types.ServiceStatusOperationInProgress:
				b.Fatalf("service is %s; events:\n%s", out.Service.Status, h.events(b, out.Service))
			}
		}
		tick.Stop()
		times = append(times, time.Since(start))
		for _, arn := range arns {
			if _, err := h.client.DeleteService(b.Context(), &apprunner.DeleteServiceInput{ServiceArn: arn}); err != nil {
				b.Fatal(err)
			}
		}
		for _, arn := range arns {
			h.settled(b, arn)
		}
	}
	report(b, times, "all-running")
	slices.Sort(calls)
	b.ReportMetric(float64(calls[len(calls)*99/100].Microseconds())/1000, "api-p99-ms")
}
