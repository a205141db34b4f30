package builder_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/builder"
)

// write makes a source tree of files by path.
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func id() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// plan is one for a new service with these files.
func plan(t testing.TB, runtime string, files map[string]string) builder.Plan {
	t.Helper()
	return builder.Plan{
		Service: apron.ServiceID(id()), Revision: apron.RevisionID(id()),
		Dir: write(t, t.TempDir(), files), Runtime: runtime, Port: 8080,
	}
}

const nodeServer = `
const http = require('http')
http.createServer((req, res) => {
  if (req.url === '/env') return res.end(JSON.stringify({env: process.env, cwd: process.cwd(), version: process.version}))
  res.end('hello from node')
}).listen(process.env.PORT)
`

func TestNode(t *testing.T) {
	r := needRig(t)
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer, "package.json": `{"name":"plain"}`})
	p.Build, p.Command = []string{"npm install"}, "node server.js"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "hello from node" {
		t.Errorf("answered %q", got)
	}
}

// environment asks a nodeServer what it runs in.
func environment(t testing.TB, r *rig, p builder.Plan, image apron.Image) (e struct {
	Env     map[string]string
	Cwd     string
	Version string
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.serve(t, p, image, "/env")), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestRevisedBuild pins what survives from which stage and where variables are visible.
func TestRevisedBuild(t *testing.T) {
	r := needRig(t)
	p := plan(t, "nodejs18", map[string]string{
		"backend/server.js": nodeServer, "backend/package.json": `{}`, "shared/a b.txt": "shared", ".git/config": "secret",
	})
	p.SourceDirectory = "/backend/"
	p.BuildEnv = []builder.Variable{{Name: "TOKEN", Value: "s3cr3t-value"}}
	p.PreBuild = []string{`test "${TOKEN/cr3t/ecret}" = s3ecret-value && test -z "$PORT"`, "cd / && export X=1", `test "$PWD" = /app/backend && test -z "$X"`}
	p.Build = []string{"touch built /usr/local/built", `cat "../shared/a b.txt"`, "test ! -e ../.git"}
	p.PostBuild = []string{"test -e built", "touch post-built"}
	p.PreRun = []string{"touch /opt/x /srv/x /mnt/x /usr/local/src/x", `test -n "$TOKEN" && test -e built && test ! -e /usr/local/built && test ! -e post-built`, "touch /usr/local/ran"}
	p.Command = "test -e /usr/local/ran && exec node server.js"
	p.Port = 3000
	result, log := r.build(t, p)
	e := environment(t, r, p, result.Image)
	if e.Cwd != "/app/backend" || e.Env["PORT"] != "3000" || e.Env["TOKEN"] != "" {
		t.Errorf("runs in %s with %v", e.Cwd, e.Env)
	}
	for name := range e.Env {
		if strings.HasPrefix(name, "APRON") || strings.HasSuffix(name, "_CERT") {
			t.Errorf("%s of the build is visible at run time", name)
		}
	}
	if text := strings.Join(log, "\n"); !strings.Contains(text, "[Build] shared") {
		t.Errorf("the log lacks the command's output:\n%s", text)
	}
	if kept := r.search(t, "s3cr3t-value"); len(kept) > 0 {
		t.Errorf("a variable of the build is kept in %v", kept)
	}
}

// search returns the files of the engine and the builder that hold a text.
func (r *rig) search(t testing.TB, text string) (found []string) {
	t.Helper()
	for _, dir := range []string{"engine/build", "builder", "engine/root/io.containerd.metadata.v1.bolt"} {
		cmd := exec.Command("grep", "-rlF", text, filepath.Join(r.dir, dir))
		out, _ := cmd.Output() // its exit status says whether there was any
		found = append(found, strings.Fields(string(out))...)
	}
	return found
}

// TestOriginalBuild: build runs twice, the second time in the image that is deployed.
func TestOriginalBuild(t *testing.T) {
	r := needRig(t)
	p := plan(t, "nodejs16", map[string]string{"server.js": nodeServer})
	p.PreBuild = []string{"touch /usr/local/before before"}
	p.Build = []string{"echo once >> count", "test -e before && touch /usr/local/tool"}
	p.PostBuild = []string{`test "$(wc -l < count)" = 1`, "touch post"}
	p.Command = `test "$(wc -l < count)" = 2 && test -e /usr/local/tool && test ! -e /usr/local/before && test ! -e post && node server.js`
	result, _ := r.build(t, p)
	if e := environment(t, r, p, result.Image); !strings.HasPrefix(e.Version, "v16.") || result.RuntimeVersion != e.Version[1:] {
		t.Errorf("runs on %s, the result says %s", e.Version, result.RuntimeVersion)
	}
}

func TestFailedCommand(t *testing.T) {
	r := needRig(t)
	for phase, set := range map[string]func(*builder.Plan, []string){
		"pre-build":  func(p *builder.Plan, c []string) { p.PreBuild = c },
		"build":      func(p *builder.Plan, c []string) { p.Build = c },
		"post-build": func(p *builder.Plan, c []string) { p.PostBuild = c },
		"pre-run":    func(p *builder.Plan, c []string) { p.PreRun = c },
	} {
		t.Run(phase, func(t *testing.T) {
			p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
			set(&p, []string{"true", "echo it broke >&2; exit 3", "touch never"})
			var log []string
			_, err := r.builder.Build(t.Context(), p, func(line string) { log = append(log, line) })
			want := "Failed to build your application source code. Reason: Failed to execute '" + phase + "' command. " +
				"Command 2 of 3 ended with exit code 3. Its output ends with: it broke"
			fault, ok := errors.AsType[*apron.Fault](err)
			if !ok || fault.Kind != apron.Invalid || fault.Msg != want {
				t.Errorf("got %v\nwant %s", err, want)
			}
			if !slices.Contains(log, "[Build] it broke") {
				t.Errorf("the log lacks the output: %q", log)
			}
		})
	}
}

// TestCancel ends a build that hangs, and what it started.
func TestCancel(t *testing.T) {
	r := needRig(t)
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
	p.Build = []string{"echo waiting; sleep 86399"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := r.builder.Build(ctx, p, func(line string) {
		if line == "[Build] waiting" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a build that was cancelled ended with %v", err)
	}
	r.gone(t, "sleep 86399")
}

// TestTimeout is the same, by the builder's own limit.
func TestTimeout(t *testing.T) {
	r := needRig(t)
	cfg := r.config()
	cfg.Timeout = 5 * time.Second
	b := r.another(t, cfg)
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
	p.Build = []string{"sleep 86398"}
	_, err := b.Build(t.Context(), p, func(string) {})
	if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "took longer than 5s") {
		t.Errorf("a build that hangs ended with %v", err)
	}
	r.gone(t, "sleep 86398")
}

// TestFullDisk ends a build that writes more than it may.
func TestFullDisk(t *testing.T) {
	r := needRig(t)
	cfg := r.config()
	cfg.MaxDiskBytes = 300 << 20
	b := r.another(t, cfg)
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
	p.Build = []string{"while true; do dd if=/dev/zero of=big bs=1M count=8 oflag=append conv=notrunc status=none; sleep 0.02; done"}
	_, err := b.Build(t.Context(), p, func(string) {})
	if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "filled the disk") {
		t.Errorf("a build that fills the disk ended with %v", err)
	}
}

// TestFullDiskIsOnesOwn: what one build writes fails no other that is under way.
func TestFullDiskIsOnesOwn(t *testing.T) {
	r := needRig(t)
	cfg := r.config()
	cfg.MaxDiskBytes = 300 << 20
	b := r.another(t, cfg)
	files := map[string]string{"server.js": nodeServer}
	r.build(t, plan(t, "nodejs18", files)) // the base image, which is larger than that
	fills, sleeps := plan(t, "nodejs18", files), plan(t, "nodejs18", files)
	fills.Build = []string{"while true; do dd if=/dev/zero of=big bs=1M count=8 oflag=append conv=notrunc status=none; sleep 0.02; done"}
	sleeps.Build = []string{"sleep 20"} // longer than that takes to fill the disk
	var filled error
	var end sync.WaitGroup
	end.Go(func() { _, filled = b.Build(t.Context(), fills, func(string) {}) })
	if _, err := b.Build(t.Context(), sleeps, func(string) {}); err != nil {
		t.Errorf("a build beside one that fills the disk ended with %v", err)
	}
	end.Wait()
	if apron.KindOf(filled) != apron.Invalid || !strings.Contains(filled.Error(), "filled the disk") {
		t.Errorf("a build that fills the disk ended with %v", filled)
	}
}

// TestNoEgress: with the network switched off, a build reaches nothing at all.
func TestNoEgress(t *testing.T) {
	r := needRig(t)
	cfg := r.config()
	cfg.NoEgress = true
	b := r.another(t, cfg)
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
	p.Build = []string{"test -z \"$(ls /sys/class/net | grep -v '^lo$')\""}
	if _, err := b.Build(t.Context(), p, func(line string) { t.Log(line) }); err != nil {
		t.Error(err)
	}
}

// TestBuildCannotReachTheMachine: what listens on this machine alone is out of a build's reach.
func TestBuildCannotReachTheMachine(t *testing.T) {
	r := needRig(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.Build = []string{"! (exec 3<>/dev/tcp/127.0.0.1/" + port + ") 2>/dev/null"}
	r.build(t, p)
}

// TestDependencies: npm's packages come from the registry once; a change of the sources leaves them.
func TestDependencies(t *testing.T) {
	r := needRig(t)
	p := plan(t, "nodejs18", map[string]string{
		"server.js":    `const ms = require('ms'); require('http').createServer((q, s) => s.end(String(ms('2 days')))).listen(process.env.PORT)`,
		"package.json": `{"dependencies":{"ms":"2.1.3"}}`,
	})
	p.Build, p.Command = []string{"npm install --omit=dev"}, "node server.js"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "172800000" {
		t.Errorf("answered %q", got)
	}
	write(t, p.Dir, map[string]string{"server.js": `require('ms'); require('http').createServer((q, s) => s.end('changed')).listen(process.env.PORT)`})
	p.Revision = apron.RevisionID(id())
	result, log := r.build(t, p)
	if !slices.Contains(log, "[Build] [build 1/1] npm install --omit=dev (unchanged, not run again)") {
		t.Error("a change of the sources installed the dependencies again")
	}
	if got := r.serve(t, p, result.Image, "/"); got != "changed" {
		t.Errorf("answered %q", got)
	}
}

func TestPython(t *testing.T) {
	r := needRig(t)
	p := plan(t, "python311", map[string]string{"app.py": `
import http.server, os, ssl, sqlite3, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'python %d.%d' % sys.version_info[:2])
http.server.HTTPServer(('', int(os.environ['PORT'])), H).serve_forever()
`})
	p.Build, p.PreRun, p.Command = []string{"pip3 --version"}, []string{"python --version"}, "python3 app.py"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "python 3.11" {
		t.Errorf("answered %q", got)
	}
}

const goServer = `package main

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
)

func main() {
	http.ListenAndServe(":"+os.Getenv("PORT"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello from ", runtime.GOOS) }))
}
`

func TestGo(t *testing.T) {
	r := needRig(t)
	p := plan(t, "go1", map[string]string{"main.go": goServer, "go.mod": "module hello\n\ngo 1.18\n"})
	// The distribution's brings its standard library compiled, which takes this machine's a minute.
	p.Build, p.Command, p.RuntimeVersion = []string{"go build -o server ."}, "./server", "1.19"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "hello from linux" {
		t.Errorf("answered %q", got)
	}
}

// TestGoModules: modules come through the proxy once, and are cached apart from the sources.
func TestGoModules(t *testing.T) {
	r := needRig(t)
	main := func(text string) string {
		return "package main\n\nimport (\n\t\"net/http\"\n\t\"os\"\n\n\t\"github.com/google/uuid\"\n)\n\nfunc main() {\n" +
			"\thttp.ListenAndServe(\":\"+os.Getenv(\"PORT\"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {\n" +
			"\t\tw.Write([]byte(\"" + text + " \" + uuid.Nil.String()[:8]))\n\t}))\n}\n"
	}
	p := plan(t, "go1", map[string]string{
		"main.go": main("one"),
		"go.mod":  "module example.com/app\n\ngo 1.18\n\nrequire github.com/google/uuid v1.6.0\n",
		"go.sum": "github.com/google/uuid v1.6.0 h1:NIvaJDMOsjHA8n1jAhLSgzrAzy1Hgr+hNrb57e+94F0=\n" +
			"github.com/google/uuid v1.6.0/go.mod h1:TIyPZe4MgqvfeYDBFedMoGGpEw/LqOeaOT+nhxU+yHo=\n",
	})
	p.Build, p.Command, p.RuntimeVersion = []string{"go mod download", "go build -o server ."}, "./server", "1.19"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "one 00000000" {
		t.Errorf("answered %q", got)
	}
	write(t, p.Dir, map[string]string{"main.go": main("two")})
	p.Revision = apron.RevisionID(id())
	result, log := r.build(t, p)
	if !slices.Contains(log, "[Build] [build 1/2] go mod download (unchanged, not run again)") {
		t.Error("a change of the sources downloaded the modules again")
	}
	if got := r.serve(t, p, result.Image, "/"); got != "two 00000000" {
		t.Errorf("answered %q", got)
	}
}

func TestRuby(t *testing.T) {
	r := needRig(t)
	p := plan(t, "ruby31", map[string]string{"app.rb": `
require 'socket'
s = TCPServer.new(ENV['PORT'].to_i)
loop { c = s.accept; c.gets; c.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nruby"); c.close }
`})
	p.Build, p.Command = []string{"bundle --version", "gem --version"}, "ruby app.rb"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "ruby" {
		t.Errorf("answered %q", got)
	}
}

func TestJava(t *testing.T) {
	r := needRig(t)
	p := plan(t, "corretto11", map[string]string{"Main.java": `
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
public class Main {
  public static void main(String[] args) throws Exception {
    HttpServer s = HttpServer.create(new InetSocketAddress(Integer.parseInt(System.getenv("PORT"))), 0);
    s.createContext("/", x -> { byte[] b = "java".getBytes(); x.sendResponseHeaders(200, b.length); x.getResponseBody().write(b); x.close(); });
    s.start();
  }
}
`})
	p.Build = []string{"mvn -v", "javac -d out Main.java", "! gradle --version 2> said && grep -q ./gradlew said"}
	p.Command = "java -cp out Main"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "java" {
		t.Errorf("answered %q", got)
	}
	if len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "java 11 is not on offer here; 17.") {
		t.Errorf("warned %q", result.Warnings)
	}
}

func TestPHP(t *testing.T) {
	r := needRig(t)
	p := plan(t, "php81", map[string]string{"public/index.php": "<?php echo 'php ' . json_encode(extension_loaded('mbstring'));"})
	p.Build, p.Command = []string{"composer --version", "php-fpm --version && nginx -v"}, "php -S 0.0.0.0:$PORT -t public"
	result, _ := r.build(t, p)
	if got := r.serve(t, p, result.Image, "/"); got != "php true" {
		t.Errorf("answered %q", got)
	}
}

// TestBundlerCache: what Bundler has downloaded is there for the service's next build.
func TestBundlerCache(t *testing.T) {
	r := needRig(t)
	p := plan(t, "ruby31", map[string]string{
		"Gemfile":           "source 'file:///app/gems'\ngem 'hola'\n",
		"hola/hola.gemspec": "Gem::Specification.new { |s| s.name = 'hola'; s.version = '1.0.0'; s.summary = 'x'; s.authors = ['x']; s.files = ['hola.rb'] }",
		"hola/hola.rb":      "",
	})
	const cached = "ls ~/.bundle/cache/gems/*/hola-1.0.0.gem"
	p.PreBuild = []string{"mkdir -p gems/gems && (cd hola && gem build hola.gemspec -o ../gems/gems/hola-1.0.0.gem) && gem generate_index -d gems"}
	install := []string{"bundle config set --local path vendor", "bundle install", cached}
	p.Build, p.Command = install, "ruby -e sleep"
	r.build(t, p)
	p.Build, p.Revision = append([]string{cached}, install...), apron.RevisionID(id())
	r.build(t, p)
}

// TestComposerCache: as TestBundlerCache, for an image without /etc/xdg, too.
func TestComposerCache(t *testing.T) {
	r := needRig(t)
	p := plan(t, "php81", map[string]string{
		"hola/composer.json": `{"name": "acme/hola"}`,
		"packages.json": `{"packages": {"acme/hola": {"1.0.0": {"name": "acme/hola", "version": "1.0.0",
			"dist": {"type": "zip", "url": "file:///app/hola.zip"}}}}}`,
		"composer.json": `{"repositories": [{"type": "composer", "url": "file:///app"}, {"packagist.org": false}], "require": {"acme/hola": "*"}}`,
	})
	const cached = "ls ~/.cache/composer/files/acme/hola/*.zip"
	p.PreBuild = []string{`php -r '$z = new ZipArchive; $z->open("hola.zip", ZipArchive::CREATE); $z->addFile("hola/composer.json", "composer.json");'`}
	install := []string{"rm -rf /etc/xdg", "composer install", cached}
	p.Build, p.Command = install, "php -S 0.0.0.0:$PORT"
	r.build(t, p)
	p.Build, p.Revision = append([]string{cached}, install...), apron.RevisionID(id())
	r.build(t, p)
}

// TestSameAgain: nothing changed gives the same image. The name a build gives it goes once the engine
// keeps the image itself.
func TestSameAgain(t *testing.T) {
	r := needRig(t)
	p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
	p.Build, p.Command = []string{"date +%N > now"}, "node server.js"
	first, _ := r.build(t, p)
	old := p.Revision
	p.Revision = apron.RevisionID(id())
	second, _ := r.build(t, p)
	if first.Image.Digest != second.Image.Digest {
		t.Errorf("the same sources gave %s and %s", first.Image.Digest, second.Image.Digest)
	}
	if got := r.built(t, p.Service); len(got) != 2 {
		t.Errorf("before the engine has either the builder keeps %v", got)
	}
	if got := r.serve(t, p, second.Image, "/"); got != "hello from node" {
		t.Errorf("answered %q", got)
	}
	p.Revision = apron.RevisionID(id())
	r.build(t, p)
	if got := r.built(t, p.Service); len(got) != 2 || !slices.Contains(got, string(old)) || !slices.Contains(got, string(p.Revision)) {
		t.Errorf("kept %v, want %s and %s", got, old, p.Revision)
	}
}

func TestRefusals(t *testing.T) {
	r := needRig(t)
	for name, tt := range map[string]struct {
		change func(*builder.Plan)
		want   string
	}{
		"unknown runtime":     {func(p *builder.Plan) { p.Runtime = "nodejs99" }, "Failed to build your application source code. Reason: The specified runtime version is not supported."},
		"nonsense version":    {func(p *builder.Plan) { p.RuntimeVersion = "newest" }, "Failed to build your application source code. Reason: The specified runtime version is not supported."},
		"pre-run of original": {func(p *builder.Plan) { p.Runtime, p.PreRun = "go1", []string{"true"} }, "has no 'pre-run' commands"},
		"no such directory":   {func(p *builder.Plan) { p.SourceDirectory = "nope" }, "is not in the repository"},
		"way out":             {func(p *builder.Plan) { p.SourceDirectory = "../.." }, "leads out of the repository"},
		"nothing offers it":   {func(p *builder.Plan) { p.Runtime, p.RuntimeVersion = "dotnet6", "6.9" }, "is not on offer here"},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan(t, "nodejs18", map[string]string{"server.js": nodeServer})
			tt.change(&p)
			_, err := r.builder.Build(t.Context(), p, func(string) {})
			if apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
