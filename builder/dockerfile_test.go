package builder_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"apron"
	"apron/builder"
)

// docker is a plan for a Dockerfile.
func docker(t testing.TB, files map[string]string) builder.Plan {
	t.Helper()
	return plan(t, builder.RuntimeDocker, files)
}

// fetching returns a builder whose images all come from the registry of a test.
func (r *rig) fetching(t testing.TB) (b *builder.Builder, push func(repo string, config v1.Config)) {
	t.Helper()
	cfg := r.config()
	cfg.Official = "docker.io/library"
	cfg.Fetch, push = r.registry(t)
	return r.another(t, cfg), push
}

// registry returns a registry's images, whatever host their names say: what mirrors do in earnest.
func (r *rig) registry(t testing.TB) (fetch func(context.Context, apron.Scope, string) (string, error), push func(repo string, config v1.Config)) {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	digests := map[string]string{}
	push = func(repo string, config v1.Config) {
		t.Helper()
		img, err := mutate.AppendLayers(empty.Image, static.NewLayer(emptyTar(t), types.OCIUncompressedLayer))
		if err != nil {
			t.Fatal(err)
		}
		file, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		file = file.DeepCopy()
		file.OS, file.Architecture, file.Config = "linux", "amd64", config
		if img, err = mutate.ConfigFile(img, file); err != nil {
			t.Fatal(err)
		}
		tag, err := name.NewTag(host+"/"+repo+":latest", name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, img); err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[repo] = digest.String()
	}
	fetch = func(ctx context.Context, _ apron.Scope, reference string) (string, error) {
		repo, _, _ := strings.Cut(reference[strings.LastIndex(reference, "/")+1:], ":")
		digest, ok := digests[repo]
		if !ok {
			return "", apron.Faultf(apron.Invalid, "The image %s does not exist.", reference)
		}
		return r.driver.Fetch(ctx, apron.Image{Reference: host + "/" + repo + "@" + digest, Digest: digest})
	}
	return fetch, push
}

// base returns the name of a base image the rig has: a Dockerfile in a test needs something to start from.
func (r *rig) base(t testing.TB) string {
	t.Helper()
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
	p.Build, p.Command = []string{"true"}, "node server.js"
	r.build(t, p)
	for _, img := range r.records(t) {
		if strings.HasPrefix(img, "apron.build/base/nodejs:18") && strings.Contains(img, "-run-") {
			return img
		}
	}
	t.Fatal("there is no base image")
	return ""
}

func TestDockerfile(t *testing.T) {
	r := needRig(t)
	p := docker(t, map[string]string{
		"svc/deploy/Dockerfile": "# syntax=docker/dockerfile:1.7\n" +
			"ARG BASE\nFROM ${BASE} AS build\nARG GREETING\nWORKDIR /src\nCOPY . .\n" +
			"RUN echo \"building $GREETING\" && echo \"$GREETING\" > greeting && test ! -e ignored.txt\n" +
			"FROM ${BASE}\nWORKDIR /srv\nCOPY --from=build /src/server.js /src/greeting ./\nENV KEPT=yes\nCMD [\"node\", \"server.js\"]\n",
		"svc/server.js":         "require('http').createServer((q, s) => s.end(require('fs').readFileSync('greeting') + process.env.KEPT)).listen(process.env.PORT)",
		"svc/ignored.txt":       "not this",
		"svc/.dockerignore":     "ignored.txt\n",
		"elsewhere/ignored.txt": "nor this",
	})
	p.SourceDirectory, p.Dockerfile = "svc", "deploy/Dockerfile"
	p.BuildEnv = []builder.Variable{{Name: "BASE", Value: r.base(t)}, {Name: "GREETING", Value: "moin"}}
	result, log := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "moin\nyes" {
		t.Errorf("answered %q", got)
	}
	if text := strings.Join(log, "\n"); !strings.Contains(text, "[Build] building moin") {
		t.Errorf("the log lacks the command's output:\n%s", text)
	}

	p.Command, p.Revision = "echo other > greeting; exec node server.js", apron.RevisionID(id())
	result, _ = r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "other\nyes" {
		t.Errorf("with a command of its own it answered %q", got)
	}
}

// TestDockerfileCacheMount: a cache outlives a build, and is seen by no other service.
func TestDockerfileCacheMount(t *testing.T) {
	r := needRig(t)
	file := "FROM " + r.base(t) + "\nARG WANT\nRUN --mount=type=cache,id=walk,target=/cache test \"$(cat /cache/found)\" = \"$WANT\" && echo mine > /cache/found\nCMD [\"x\"]\n"
	first, other := docker(t, map[string]string{"Dockerfile": file}), docker(t, map[string]string{"Dockerfile": file})
	r.build(t, first)
	r.build(t, other)
	first.BuildEnv = []builder.Variable{{Name: "WANT", Value: "mine"}}
	first.Revision = apron.RevisionID(id())
	r.build(t, first)
}

// TestDockerfileFromRegistry: FROM goes where images of services come from, and nowhere else.
func TestDockerfileFromRegistry(t *testing.T) {
	r := needRig(t)
	b, push := r.fetching(t)
	push("mine", v1.Config{Env: []string{"FROM_BASE=1"}})
	p := docker(t, map[string]string{"Dockerfile": "FROM 123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:latest\nCOPY a /a\nCMD [\"/a\"]\n", "a": "x"})
	if _, err := b.Build(t.Context(), p, func(string) {}); err != nil {
		t.Error(err)
	}
	p = docker(t, map[string]string{"Dockerfile": "FROM docker.io/library/nobody\n"})
	if _, err := b.Build(t.Context(), p, func(string) {}); apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("an image that is nowhere: %v", err)
	}
	push("trap", v1.Config{OnBuild: []string{"ADD http://127.0.0.1:1/secret /secret"}})
	p = docker(t, map[string]string{"Dockerfile": "FROM trap\nCMD [\"x\"]\n"})
	if _, err := b.Build(t.Context(), p, func(string) {}); apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "polic") {
		t.Errorf("a base image that has the builder fetch: %v", err)
	}
}

func TestDockerfileRefusals(t *testing.T) {
	r := needRig(t)
	base := r.base(t)
	for name, tt := range map[string]struct{ file, want string }{
		"absent":        {"", "There is no file Dockerfile"},
		"not valid":     {"FROM scratch\nFROB x\n", "unknown instruction: FROB"},
		"failing":       {"FROM " + base + "\nRUN echo oh no && exit 7\n", "Failed to execute 'build' command. Command 1 of 2 ended with exit code 7. Its output ends with: oh no"},
		"missing":       {"FROM " + base + "\nCOPY nothing /\n", "nothing"},
		"frontend":      {"# syntax=evil/frontend\nFROM scratch\n", "only docker/dockerfile is supported"},
		"add":           {"FROM " + base + "\nADD http://127.0.0.1/x /x\n", "the builder fetches nothing itself"},
		"host network":  {"FROM " + base + "\nRUN --network=host true\n", "network.host"},
		"unknown image": {"FROM example.com/x\n", "no registry is configured"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{"x": ""}
			if tt.file != "" {
				files["Dockerfile"] = tt.file
			}
			_, err := r.builder.Build(t.Context(), docker(t, files), func(string) {})
			fault, ok := errors.AsType[*apron.Fault](err)
			if !ok || fault.Kind != apron.Invalid || !strings.Contains(fault.Msg, tt.want) || !strings.HasPrefix(fault.Msg, "Failed to build your application source code.") {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// TestOfficialImages: base images come from a registry that has them, and from elsewhere, without asking
// again and again, when it is out of reach.
func TestOfficialImages(t *testing.T) {
	r := needRig(t)
	far, asked := r.config(), 0
	far.Official = "docker.io/library"
	far.Fetch = func(context.Context, apron.Scope, string) (string, error) { asked++; return "", io.EOF }
	b := r.another(t, far)
	for range 2 {
		p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
		p.Command = "node server.js"
		if result, err := b.Build(t.Context(), p, func(string) {}); err != nil || !strings.Contains(result.Base, "Debian packages") {
			t.Errorf("with a registry out of reach: %+v, %v", result, err)
		}
	}
	if asked != 1 {
		t.Errorf("a registry out of reach was asked %d times, not once", asked)
	}

	near, push := r.fetching(t)
	push("node", v1.Config{Env: []string{"PATH=/bin", "NODE_VERSION=22.99.1"}})
	p := plan(t, "nodejs22", map[string]string{"server.js": nodeServer})
	p.Command = "node server.js"
	result, err := near.Build(t.Context(), p, func(string) {})
	if err != nil || result.RuntimeVersion != "22.99.1" || result.Base != "the official image docker.io/library/node:22-bookworm" {
		t.Errorf("with a registry that has the image: %+v, %v", result, err)
	}
}

// TestOfficialImagesLater: that a registry is out of reach outlives the builder, no build that has another
// base waits until it is asked again, and what it has by then is used from the next build on.
func TestOfficialImagesLater(t *testing.T) {
	r := needRig(t)
	dir, now := t.TempDir(), time.Now()
	fetch, push := r.registry(t)
	asked, answers := make(chan string), make(chan bool) // whether the registry is in reach
	open := func() *builder.Builder {
		cfg := r.config()
		cfg.Dir, cfg.Official, cfg.Now = dir, "docker.io/library", func() time.Time { return now }
		cfg.Fetch = func(ctx context.Context, scope apron.Scope, reference string) (string, error) {
			select {
			case asked <- reference:
			case <-ctx.Done():
				return "", ctx.Err()
			}
			select {
			case reached := <-answers:
				if !reached {
					return "", io.EOF
				}
				return fetch(ctx, scope, reference)
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
		b, err := builder.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	prepare := func(b *builder.Builder) builder.Offer {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		o, err := b.Prepare(ctx, "nodejs22", "", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	packages := func(b *builder.Builder) {
		t.Helper()
		if o := prepare(b); strings.Contains(o.Origin, "official") {
			t.Errorf("with a registry out of reach the base is %+v", o)
		}
	}
	b := open()
	go func() { <-asked; answers <- false }()
	packages(b) // waits for the answer: there is nothing else yet
	packages(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(9 * time.Minute)
	b = open()
	packages(b) // nobody takes what it asks
	now = now.Add(9 * time.Minute)
	packages(b) // asked, and not waited for
	if reference := <-asked; !strings.HasPrefix(reference, "docker.io/library/node:22") {
		t.Errorf("%s was asked for", reference)
	}
	packages(b)                       // not asked twice at a time
	if err := b.Close(); err != nil { // ends what it does for nobody
		t.Fatal(err)
	}

	push("node", v1.Config{Env: []string{"PATH=/bin", "NODE_VERSION=22.99.1"}})
	now = now.Add(11 * time.Minute)
	b = open()
	defer b.Close()
	packages(b)
	serving, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		for {
			select {
			case <-asked:
				answers <- true
			case <-serving:
				return
			}
		}
	}()
	deadline := time.Now().Add(time.Minute)
	o := prepare(b)
	for o.Version != "22.99.1" && time.Now().Before(deadline) { // the look may not have noted yet what came of it
		o = prepare(b)
	}
	close(serving)
	<-served
	if o.Version != "22.99.1" || o.Origin != "the official image docker.io/library/node:22-bookworm" {
		t.Errorf("with the registry in reach the base is %+v", o)
	}
}
