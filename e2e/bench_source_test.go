package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

const goFile = `version: 1.0
runtime: go1
build:
  commands:
    build:
      - go build -o server .
run:
  command: ./server
`

const goModule = "module example.com/app\n\ngo 1.18\n"

// goServer answers with text.
func goServer(text string) string {
	return `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "` + text + `") })
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
		panic(err)
	}
}
`
}

// comes waits until the service answers with text, not in a tight loop, which would take the CPU
// from what is measured.
func (h *home) comes(b *testing.B, svc *types.Service, text string) {
	b.Helper()
	poll(b, 5*time.Millisecond, "the service to answer "+text, func() bool {
		status, body, err := h.get(b.Context(), svc, "/")
		return err == nil && status == http.StatusOK && body == text
	})
}

// BenchmarkGitPush measures from the start of git push, of a change of sources alone, to the first
// answer of the new version; caches are warm. Part of it is the push itself, to its return.
func BenchmarkGitPush(b *testing.B) {
	for name, app := range map[string]struct {
		file, source string
		write        func(text string) string
		more         map[string]string
	}{
		"node": {nodeFile, "server.js", nodeServer, nil},
		"go":   {goFile, "main.go", goServer, map[string]string{"go.mod": goModule}},
	} {
		b.Run(name, func(b *testing.B) {
			h := newHome(b)
			work := newWorkTree(b)
			push, url := h.repository("bench")
			first := map[string]string{"apprunner.yaml": app.file, app.source: app.write("first")}
			maps.Copy(first, app.more)
			work.commit(first)
			work.git("push", "--quiet", push, "main")
			svc := h.created(b, codeInput("bench-push", url, "/"))
			var pushes, serves []time.Duration
			for i := 0; b.Loop(); i++ {
				text := fmt.Sprintf("version %d", i)
				work.commit(map[string]string{app.source: app.write(text)})
				start := time.Now()
				work.git("push", "--quiet", push, "main")
				pushes = append(pushes, time.Since(start))
				h.comes(b, svc, text)
				serves = append(serves, time.Since(start))
				h.settled(b, svc.ServiceArn)
			}
			report(b, pushes, "push")
			report(b, serves, "serving")
		})
	}
}

// BenchmarkFirstDeploy measures from the call of CreateService, for a Node application without
// dependencies whose base image is there, to its first answer; and a deployment of the same commit
// again, to its end.
func BenchmarkFirstDeploy(b *testing.B) {
	h := newHome(b)
	work := newWorkTree(b)
	deploy := func(i int) (svc *types.Service, text string) {
		text = fmt.Sprintf("application %d", i)
		push, url := h.repository(fmt.Sprintf("bench%d", i))
		work.commit(map[string]string{"apprunner.yaml": nodeFile, "server.js": nodeServer(text)})
		work.git("push", "--quiet", push, "main")
		return h.create(b, codeInput(fmt.Sprintf("bench-%04d", i), url, "/")), text
	}
	svc, _ := deploy(0) // makes the base image
	h.settle(b, svc.ServiceArn)
	var serves, again []time.Duration
	for i := 1; b.Loop(); i++ {
		start := time.Now()
		svc, text := deploy(i)
		h.comes(b, svc, text)
		serves = append(serves, time.Since(start))
		h.settled(b, svc.ServiceArn)
		again = append(again, h.measured(b, svc, types.ServiceStatusRunning, func() error {
			_, err := h.client.StartDeployment(b.Context(), &apprunner.StartDeploymentInput{ServiceArn: svc.ServiceArn})
			return err
		}))
		h.remove(b, svc)
	}
	report(b, serves, "serving")
	report(b, again, "rebuild")
}

// heavyFile compiles a part of Go's standard library each time, which nothing takes from a cache.
const heavyFile = `version: 1.0
runtime: go1
build:
  commands:
    build:
      - go build -a -o /dev/null encoding/json
      - go build -o server .
run:
  command: ./server
`

// Load of the benchmark below.
const (
	neighbourBuilds  = 5
	neighbourRate    = 200 // requests per second
	neighbourSamples = 5 * time.Second
)

// BenchmarkNeighbours measures what requests take while nothing is built and while five services are,
// each to the end of its build. The ratio of the two 99th percentiles says what builds cost others. The
// client is a process with real-time priority (playLoad), like those on other machines.
func BenchmarkNeighbours(b *testing.B) {
	h := newHome(b)
	steady := h.running(b, input("steady", h.push(b), nil))
	work := newWorkTree(b)
	push, url := h.repository("heavy")
	change := func(i int) {
		work.commit(map[string]string{"apprunner.yaml": heavyFile, "go.mod": goModule, "main.go": goServer(fmt.Sprint("version ", i))})
		work.git("push", "--quiet", push, "main")
	}
	change(0)
	var heavy []*types.Service
	for n := range neighbourBuilds {
		heavy = append(heavy, h.created(b, codeInput(fmt.Sprintf("heavy-%d", n), url, "/")))
	}
	var idle, busy []time.Duration
	for i := 1; b.Loop(); i++ {
		measured := h.latencies(b, steady)
		time.Sleep(neighbourSamples)
		idle = append(idle, measured()...)
		measured = h.latencies(b, steady)
		change(i)
		for _, svc := range heavy {
			h.settle(b, svc.ServiceArn)
		}
		busy = append(busy, measured()...)
	}
	idleP99, busyP99 := p99(idle), p99(busy)
	b.ReportMetric(float64(idleP99.Microseconds())/1000, "idle-p99-ms")
	b.ReportMetric(float64(busyP99.Microseconds())/1000, "building-p99-ms")
	b.ReportMetric(float64(busyP99)/float64(idleP99), "ratio")
}

// visit sends one request and reads the answer.
func visit(ctx context.Context, client *http.Client, url, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

func p99(took []time.Duration) time.Duration {
	slices.Sort(took)
	return took[len(took)*99/100]
}
