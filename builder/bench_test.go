package builder_test

import (
	"fmt"
	"testing"

	"apron"
	"apron/builder"
)

// again builds a plan over and over, changed by change before each time.
func again(b *testing.B, r *rig, p *builder.Plan, change func(n int)) {
	b.Helper()
	build := func() {
		p.Revision = apron.RevisionID(id())
		if _, err := r.builder.Build(b.Context(), *p, func(string) {}); err != nil {
			b.Fatal(err)
		}
	}
	build() // fills the caches
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		change(n)
		b.StartTimer()
		build()
	}
}

func nodePlan(b *testing.B) builder.Plan {
	p := plan(b, "nodejs22", map[string]string{"server.js": nodeServer, "package.json": `{"dependencies":{"ms":"2.1.3"}}`})
	p.Build, p.Command = []string{"npm install"}, "node server.js"
	return p
}

// BenchmarkUnchanged measures building what was built before.
func BenchmarkUnchanged(b *testing.B) {
	p := nodePlan(b)
	again(b, needRig(b), &p, func(int) {})
}

// BenchmarkNodeSource measures a change of the sources of a Node application with a dependency.
func BenchmarkNodeSource(b *testing.B) {
	p := nodePlan(b)
	again(b, needRig(b), &p, func(n int) { write(b, p.Dir, map[string]string{"server.js": nodeServer + fmt.Sprint("//", n)}) })
}

// BenchmarkNodeNew measures the first build of a new service without dependencies, its base image
// being there.
func BenchmarkNodeNew(b *testing.B) {
	r := needRig(b)
	p := plan(b, "nodejs22", map[string]string{"server.js": nodeServer})
	p.Build, p.Command = []string{"true"}, "node server.js"
	again(b, r, &p, func(n int) {
		p = plan(b, "nodejs22", map[string]string{"server.js": nodeServer + fmt.Sprint("//", n)})
		p.Build, p.Command = []string{"true"}, "node server.js"
	})
}

// BenchmarkGoSource measures a change of the sources of a Go application.
func BenchmarkGoSource(b *testing.B) {
	p := plan(b, "go1", map[string]string{"main.go": goServer, "go.mod": "module hello\n\ngo 1.18\n"})
	p.Build, p.Command = []string{"go build -o server ."}, "./server"
	again(b, needRig(b), &p, func(n int) { write(b, p.Dir, map[string]string{"main.go": goServer + fmt.Sprint("//", n)}) })
}

// BenchmarkBaseImage measures the first use of a runtime on a machine that has neither its base images
// nor the packages they are made from: looking up what is on offer, fetching, and assembling.
func BenchmarkBaseImage(b *testing.B) {
	needRig(b) // or skip
	for _, runtime := range []string{"nodejs22", "python311", "go1", "ruby31", "corretto11", "php81"} {
		b.Run(runtime, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				r, err := openRig(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if _, err := r.builder.Prepare(b.Context(), runtime, "", func(string) {}); err != nil {
					b.Error(err)
				}
				b.StopTimer()
				if err := r.close(); err != nil {
					b.Error(err)
				}
				b.StartTimer()
			}
		})
	}
}
