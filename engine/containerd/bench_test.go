package containerd_test

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/engine"
	"apron/engine/enginetest"
)

// report reports the median and the 95th percentile of times in milliseconds.
func report(b *testing.B, times []time.Duration) {
	b.Helper()
	slices.Sort(times)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(times[len(times)/2]), "p50-ms")
	b.ReportMetric(ms(times[len(times)*95/100]), "p95-ms")
	b.ReportMetric(0, "ns/op") // the mean says less
}

// benchRig is a rig with a prepared revision of a small static server.
func benchRig(b *testing.B) (*rig, *enginetest.Watcher, engine.Spec) {
	b.Helper()
	r := newRig(b)
	w := enginetest.StartWatch(b, r.driver)
	spec := enginetest.SpecOf(r.serveImage(b))
	if err := r.driver.Prepare(b.Context(), spec); err != nil {
		b.Fatal(err)
	}
	return r, w, spec
}

func (r *rig) scale(b *testing.B, spec engine.Spec, n int) {
	b.Helper()
	if err := r.driver.Scale(b.Context(), spec, n); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkStart measures from Scale(0→1) until the instance has answered a request: cold, and with
// one made in advance.
func BenchmarkStart(b *testing.B) {
	for _, row := range []struct {
		name    string
		reserve int
	}{{"cold", 0}, {"reserved", 1}} {
		b.Run(row.name, func(b *testing.B) {
			r, w, spec := benchRig(b)
			cl := r.client(b)
			if err := r.driver.Reserve(b.Context(), spec, row.reserve); err != nil {
				b.Fatal(err)
			}
			var times []time.Duration
			b.ResetTimer()
			for b.Loop() {
				b.StopTimer()
				r.reserved(b, cl, row.reserve)
				b.StartTimer()
				start := time.Now()
				r.scale(b, spec, 1)
				if _, err := get(w.Ready(b, spec.Revision, 1)[0], "/"); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
				b.StopTimer()
				r.scale(b, spec, 0)
				w.Ready(b, spec.Revision, 0)
				b.StartTimer()
			}
			report(b, times)
		})
	}
}

// BenchmarkStart20 measures from Scale(0→20) until all of them are ready, and what processor time the
// machine spends on each meanwhile, with whatever else it does.
func BenchmarkStart20(b *testing.B) {
	r, w, spec := benchRig(b)
	var times []time.Duration
	var spent time.Duration
	for b.Loop() {
		before := machineTime(b)
		start := time.Now()
		r.scale(b, spec, 20)
		w.Ready(b, spec.Revision, 20)
		times = append(times, time.Since(start))
		spent += machineTime(b) - before
		b.StopTimer()
		r.scale(b, spec, 0)
		w.Ready(b, spec.Revision, 0)
		b.StartTimer()
	}
	report(b, times)
	b.ReportMetric(float64(spent.Milliseconds())/float64(20*len(times)), "CPU-ms/start")
}

// machineTime returns what the machine's processors have worked (proc_stat(5): user to softirq without
// idle and iowait).
func machineTime(b *testing.B) (total time.Duration) {
	b.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	for n, f := range strings.Fields(string(stat))[1:8] {
		if n == 3 || n == 4 {
			continue
		}
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ticks) * 10 * time.Millisecond
	}
	return total
}

// BenchmarkReplaceReserved measures from the death of an instance's process until one made in advance has
// answered in its place.
func BenchmarkReplaceReserved(b *testing.B) {
	r, w, spec := benchRig(b)
	cl := r.client(b)
	if err := r.driver.Reserve(b.Context(), spec, 1); err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	for b.Loop() {
		b.StopTimer()
		r.scale(b, spec, 0)
		w.Ready(b, spec.Revision, 0)
		r.reserved(b, cl, 1)
		r.scale(b, spec, 1)
		was := w.Ready(b, spec.Revision, 1)[0]
		r.reserved(b, cl, 1)
		b.StartTimer()
		start := time.Now()
		kill(b, r.pid(b, was.ID))
		if _, err := get(successor(b, w, was.ID), "/"); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	report(b, times)
}

// BenchmarkReplace measures from the death of an instance's process until its successor has answered.
func BenchmarkReplace(b *testing.B) {
	r, w, spec := benchRig(b)
	r.scale(b, spec, 1)
	i := w.Ready(b, spec.Revision, 1)[0]
	var times []time.Duration
	for n := 1; b.Loop(); n++ {
		b.StopTimer() // one that was healthy for a while is replaced without a further wait
		r.scale(b, spec, 0)
		w.Ready(b, spec.Revision, 0)
		r.scale(b, spec, 1)
		i = w.Ready(b, spec.Revision, 1)[0]
		b.StartTimer()
		start := time.Now()
		kill(b, r.pid(b, i.ID))
		again := restarted(b, w, i.ID)
		if _, err := get(again, "/"); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	report(b, times)
}

// BenchmarkThaw measures the thaw of a frozen instance by itself, and until it has answered on a new
// connection.
func BenchmarkThaw(b *testing.B) {
	r, w, spec := benchRig(b)
	r.scale(b, spec, 1)
	i := w.Ready(b, spec.Revision, 1)[0]
	var thaws, answers []time.Duration
	for b.Loop() {
		if err := r.driver.Freeze(b.Context(), i.ID, true); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if err := r.driver.Freeze(b.Context(), i.ID, false); err != nil {
			b.Fatal(err)
		}
		thaws = append(thaws, time.Since(start))
		conn, err := net.Dial("tcp", i.Addr.String())
		if err != nil {
			b.Fatal(err)
		}
		fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		answers = append(answers, time.Since(start))
		conn.Close()
	}
	report(b, thaws)
	slices.Sort(answers)
	b.ReportMetric(float64(answers[len(answers)/2].Microseconds())/1000, "answer-p50-ms")
}

// BenchmarkRemove measures Remove of a revision with one instance.
func BenchmarkRemove(b *testing.B) {
	r := newRig(b)
	w := enginetest.StartWatch(b, r.driver)
	image := r.serveImage(b)
	var times []time.Duration
	for b.Loop() {
		b.StopTimer()
		spec := enginetest.SpecOf(image)
		runOne(b, r.driver, w, spec)
		b.StartTimer()
		start := time.Now()
		if err := r.driver.Remove(b.Context(), spec.Revision); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	report(b, times)
}

// BenchmarkIdle runs many instances that do nothing (APRON_BENCH_IDLE of them; default 20) and reports
// what each costs in memory besides its application, and what share of a core the platform uses for
// all of them.
func BenchmarkIdle(b *testing.B) {
	n := 20
	if s := os.Getenv("APRON_BENCH_IDLE"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	r, w, spec := benchRig(b)
	spec.HealthCheck = apron.DefaultHealthCheck()
	r.scale(b, spec, n)
	all := w.Ready(b, spec.Revision, n)
	const watched = 10 * time.Second
	for b.Loop() {
		before := processorTime(b, r.child.cmd.Process.Pid, os.Getpid())
		for _, i := range all {
			before += processorTime(b, parentOf(b, r.pid(b, i.ID)))
		}
		time.Sleep(watched) // that is what is measured
		after := processorTime(b, r.child.cmd.Process.Pid, os.Getpid())
		for _, i := range all {
			after += processorTime(b, parentOf(b, r.pid(b, i.ID)))
		}
		b.ReportMetric(100*(after-before).Seconds()/watched.Seconds(), "%-of-a-core")
	}
	var memory float64
	for _, i := range all {
		memory += proportional(b, parentOf(b, r.pid(b, i.ID)))
	}
	b.ReportMetric(memory/float64(n)/(1<<20), "MB/instance")
	b.ReportMetric(0, "ns/op")
}

// proportional returns a process's memory, with its part of what it shares with others
// (proc_pid_smaps(5), Pss).
func proportional(b *testing.B, pid int) float64 {
	b.Helper()
	smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(smaps)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "Pss: %f kB", &kb); err == nil {
			return kb * 1024
		}
	}
	b.Fatalf("process %d has no Pss", pid)
	return 0
}

// processorTime returns what processes have used of the processor (proc_pid_stat(5), utime and stime).
func processorTime(b *testing.B, pids ...int) (total time.Duration) {
	b.Helper()
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			b.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		for _, f := range fields[11:13] {
			ticks, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return total
}
