package builder

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"

	"apron"
)

func TestWanted(t *testing.T) {
	for _, tt := range []struct {
		runtime, version string
		want             string // first prefix; empty: refused
	}{
		{"nodejs22", "", "22"},
		{"NODEJS_22", "", "22"},
		{"nodejs22", "22.14.0", "22.14.0"},
		{"nodejs22", "latest", "22"},
		{"nodejs22", "v22", "22"},
		{"nodejs22", "nodejs22", "22"},
		{"nodejs22", "18", ""},
		{"python3", "", "3.8"},
		{"python3", "3.7.16", "3.7.16"},
		{"python3", "3.11", "3.11"},
		{"python3", "3", "3"},
		{"python311", "3.11", "3.11"},
		{"python311", "3.1", ""},
		{"python311", "3.10", ""},
		{"corretto11", "11.0.13.08.1", "11.0.13.08.1"},
		{"go1", "go1.21.0", "1.21.0"},
		{"go1", "1.18.x", "1.18"},
		{"php81", "8.1", "8.1"},
		{"nodejs18", "banana", ""},
		{"nodejs18", "18; rm -rf /", ""},
		{"nodejs18", strings.Repeat("1", 60), ""},
	} {
		m, err := findRuntime(tt.runtime)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.wanted(tt.version)
		switch {
		case tt.want == "" && (apron.KindOf(err) != apron.Invalid || !strings.HasPrefix(err.Error(), unsupported)):
			t.Errorf("%s %q: %v, %v", tt.runtime, tt.version, got, err)
		case tt.want != "" && (err != nil || got[0] != tt.want):
			t.Errorf("%s %q: %v, %v, want %s", tt.runtime, tt.version, got, err, tt.want)
		}
	}
	if _, err := findRuntime("nodejs99"); apron.KindOf(err) != apron.Invalid || !strings.Contains(err.Error(), "python311") {
		t.Errorf("an unknown runtime: %v", err)
	}
}

func TestMatchAndNearest(t *testing.T) {
	offered := []string{"12.22.12", "18.9.0", "18.20.8", "22.3.0", "22.21.1"}
	for prefix, want := range map[string]string{"18": "18.20.8", "18.9": "18.9.0", "1": "", "22.21.1": "22.21.1", "18.2": ""} {
		if got := match(offered, []string{prefix}); got != want {
			t.Errorf("match %s: %q, want %q", prefix, got, want)
		}
	}
	for want, nearby := range map[string]string{"18.2": "18.20.8", "14": "18.20.8", "22.99.0": "22.21.1", "24": "22.21.1", "8": "12.22.12"} {
		if got := nearest(offered, want); got != nearby {
			t.Errorf("nearest to %s: %q, want %q", want, got, nearby)
		}
	}
	if got := nearest(nil, "1"); got != "" {
		t.Errorf("nearest of nothing: %q", got)
	}
}

// TestNotOnOffer: what nothing here offers fails in App Runner's words, with what there is instead.
func TestNotOnOffer(t *testing.T) {
	for _, tt := range []struct {
		runtime, version string
		offered          []string
		want             string
	}{
		{"corretto8", "", []string{"17.0.21"}, "java 8 is not on offer here; there is 17.0.21."},
		{"corretto11", "11.0.13.08.1", []string{"17.0.21"}, "java 11.0.13.08.1 is not on offer here; there is 17.0.21."},
		{"dotnet6", "", nil, "dotnet 6 is not on offer here; no version of it is."},
		{"php81", "", []string{"8.2.36"}, "php 8.1 is not on offer here; there is 8.2.36."},
		{"nodejs22", "22.99", []string{"18.20.8", "22.1.0", "22.21.1"}, "nodejs 22.99 is not on offer here; there is 22.21.1, 18.20.8."},
	} {
		m, err := findRuntime(tt.runtime)
		if err != nil {
			t.Fatal(err)
		}
		prefixes, err := m.wanted(tt.version)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = (&Builder{}).choose(m, catalog{Versions: tt.offered}, prefixes)
		fault, ok := errors.AsType[*apron.Fault](err)
		if want := unsupported + " " + tt.want; !ok || fault.Kind != apron.Invalid || fault.Msg != want {
			t.Errorf("%s %s: got %v\nwant %s", tt.runtime, tt.version, err, want)
		}
		v, note, err := (&Builder{cfg: Config{Substitute: true}}).choose(m, catalog{Versions: tt.offered}, prefixes)
		switch {
		case len(tt.offered) == 0:
			if apron.KindOf(err) != apron.Invalid {
				t.Errorf("%s: %q in place of it, %v", tt.runtime, v, err)
			}
		case err != nil || v == "" || !strings.Contains(note, v+" is used in its place"):
			t.Errorf("%s: %q in place of it, %q, %v", tt.runtime, v, note, err)
		}
	}
}

func TestUpstream(t *testing.T) {
	for version, want := range map[string]string{
		"3.11.2-1+b1": "3.11.2", "2:1.19~1": "1.19", "1:3.1.7+really3.1.2-0+deb12u1": "3.1.2", "17.0.21.1+2-1~deb12u1": "17.0.21.1",
		"8.2.36-1~deb12u1": "8.2.36", "18.20.4+dfsg-1~deb12u1": "18.20.4", "": "",
	} {
		if got := (pkg{version: version}).upstream(); got != want {
			t.Errorf("upstream of %s: %q, want %q", version, got, want)
		}
	}
}

func FuzzParseURIs(f *testing.F) {
	f.Add([]byte("'http://mirror/pool/b/bash_5.2.15-2_amd64.deb' bash_5.2.15-2_amd64.deb 1490652 SHA256:aa\n"))
	f.Add([]byte("'http://mirror/x' ../x_1_all.deb 1 SHA256:aa\n"))
	f.Add([]byte("'http://mirror/x' x_1_all.deb 1 \n"))
	f.Add([]byte("'cdrom:/x' procps_2%3a4.0.2-3_amd64.deb 1 MD5Sum:aa\nnoise\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		all, err := parseURIs(out)
		if err != nil {
			return
		}
		for _, p := range all {
			if p.name == "" || strings.ContainsAny(p.file, "/\n") {
				t.Errorf("read %+v", p)
			}
		}
	})
}

// unzipped returns what a tree holds: path, and for links what they lead to.
func unzipped(t *testing.T, archive io.Reader) map[string]string {
	t.Helper()
	all := map[string]string{}
	r := tar.NewReader(archive)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[h.Name]; twice {
			t.Errorf("%s is there twice", h.Name)
		}
		all[h.Name] = h.Linkname
	}
}

func TestTreeMergesUsr(t *testing.T) {
	var deb, out bytes.Buffer
	w := tar.NewWriter(&deb)
	for _, h := range []*tar.Header{
		{Name: "./", Typeflag: tar.TypeDir},
		{Name: "./bin/", Typeflag: tar.TypeDir},
		{Name: "./bin/tool", Typeflag: tar.TypeReg},
		{Name: "./bin/alias", Typeflag: tar.TypeSymlink, Linkname: "tool"},
		{Name: "./lib/x/libx.so", Typeflag: tar.TypeSymlink, Linkname: "../../usr/share/x"},
		{Name: "./lib/x/hard", Typeflag: tar.TypeLink, Linkname: "./bin/tool"},
		{Name: "./usr/share/doc/tool/README", Typeflag: tar.TypeReg},
		{Name: "./usr/share/doc/tool/copyright", Typeflag: tar.TypeReg},
		{Name: "./dev/null", Typeflag: tar.TypeChar},
		{Name: "./../../etc/escape", Typeflag: tar.TypeReg},
		{Name: "./bin/tool", Typeflag: tar.TypeReg},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tr := newTree(&out)
	if err := errors.Join(tr.copy(tar.NewReader(&deb), nil), tr.close()); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"usr/": "", "usr/bin/": "", "usr/bin/tool": "", "usr/bin/alias": "tool", "usr/lib/": "", "usr/lib/x/": "",
		"usr/lib/x/libx.so": "/usr/share/x", "usr/lib/x/hard": "usr/bin/tool", "usr/share/": "", "usr/share/doc/": "",
		"usr/share/doc/tool/": "", "usr/share/doc/tool/copyright": "", "etc/": "", "etc/escape": "",
	}
	if diff := cmp.Diff(want, unzipped(t, &out)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFindManifest(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, tt := range []struct {
		name  string
		lang  language
		tree  fstest.MapFS
		plan  Plan
		want  []string
		build int
		run   int
	}{
		{
			name: "npm ci alone", lang: langNode, plan: Plan{Build: []string{"npm ci --omit=dev"}, SourceDirectory: "web"},
			tree: fstest.MapFS{"package.json": file(`{"dependencies":{"a":"^1"}}`), "package-lock.json": file("{}")},
			want: []string{"web/package.json", "web/package-lock.json"}, build: 1,
		},
		{
			name: "then a build", lang: langNode, plan: Plan{Build: []string{"npm install", "npm run build"}},
			tree: fstest.MapFS{"package.json": file(`{}`)}, want: []string{"package.json"}, build: 1,
		},
		{
			name: "scripts of its own", lang: langNode, plan: Plan{Build: []string{"npm ci"}},
			tree: fstest.MapFS{"package.json": file(`{"scripts":{"postinstall":"node x"}}`)},
		},
		{
			name: "a directory as dependency", lang: langNode, plan: Plan{Build: []string{"npm ci"}},
			tree: fstest.MapFS{"package.json": file(`{"dependencies":{"a":"file:../a"}}`)},
		},
		{name: "broken", lang: langNode, plan: Plan{Build: []string{"npm ci"}}, tree: fstest.MapFS{"package.json": file(`{`)}},
		{
			name: "behind a pre-build", lang: langNode, plan: Plan{PreBuild: []string{"sed -i s/a/b/ package.json"}, Build: []string{"npm ci"}},
			tree: fstest.MapFS{"package.json": file(`{}`)},
		},
		{
			name: "a shell line", lang: langNode, plan: Plan{Build: []string{"npm ci && npm run build"}},
			tree: fstest.MapFS{"package.json": file(`{}`)},
		},
		{
			name: "pip in pre-run", lang: langPython, plan: Plan{Build: []string{"echo"}, PreRun: []string{"pip3 install -r requirements.txt", "x"}},
			tree: fstest.MapFS{"requirements.txt": file("flask==3\n# no\n")}, want: []string{"requirements.txt"}, run: 1,
		},
		{
			name: "pip in pre-run, of a list the build makes", lang: langPython,
			plan: Plan{Build: []string{"poetry export -o requirements.txt"}, PreRun: []string{"pip3 install -r requirements.txt"}},
			tree: fstest.MapFS{"requirements.txt": file("flask==2\n")},
		},
		{
			name: "a directory that is a pattern", lang: langNode, plan: Plan{Build: []string{"npm ci"}, SourceDirectory: "sites/[name]"},
			tree: fstest.MapFS{"package.json": file(`{}`)},
		},
		{
			name: "pip with a path", lang: langPython, plan: Plan{PreRun: []string{"pip3 install -r requirements.txt"}},
			tree: fstest.MapFS{"requirements.txt": file("./vendored\n")},
		},
		{
			name: "go", lang: langGo, plan: Plan{Build: []string{"go mod download", "go build"}},
			tree: fstest.MapFS{"go.mod": file("module x\n"), "go.sum": file("")}, want: []string{"go.mod", "go.sum"}, build: 1,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := findManifest(tt.lang, tt.tree, tt.plan)
			if diff := cmp.Diff(tt.want, got.files); diff != "" || got.build != tt.build || got.preRun != tt.run {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestStepName(t *testing.T) {
	for _, s := range []step{{"build", 1, 2, "npm ci"}, {"pre-run", 10, 10, "a\nb [c 1/2] d"}} {
		if got, ok := parseStep(s.String()); !ok || got != s {
			t.Errorf("%q read as %+v, %v", s.String(), got, ok)
		}
	}
	if _, ok := parseStep("copy source code"); ok {
		t.Error("took another name for a step")
	}
}

func TestPrinter(t *testing.T) {
	var got []string
	p := newPrinter(func(line string) { got = append(got, strings.TrimPrefix(line, "[Build] ")) })
	for _, text := range []string{"one\ntw", "o\r\n 10%\r 50%\r\x1b[1;32m100%\x1b[0m\nlast"} {
		p.print(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: "sha256:a", Data: []byte(text)}}})
	}
	p.print(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: "sha256:b", Data: bytes.Repeat([]byte("x"), maxLine+10)}}})
	p.flush()
	want := []string{"one", "two", "100%", strings.Repeat("x", maxLine), "last", strings.Repeat("x", 10)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestKeyStoreIsStable(t *testing.T) {
	if a, b := keyStore(authorities()), keyStore(authorities()); !slices.Equal(a, b) || !bytes.HasPrefix(a, []byte{0xfe, 0xed, 0xfe, 0xed}) {
		t.Error("the same certificates give different key stores")
	}
}

func TestOutlived(t *testing.T) {
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	service, old, fresh := strings.Repeat("a", 32), strings.Repeat("b", 32), strings.Repeat("c", 32)
	image := func(name string, days int, labels ...string) images.Image {
		at := now.AddDate(0, 0, -days)
		img := images.Image{Name: name, CreatedAt: at, UpdatedAt: at}
		if len(labels) == 3 {
			img.Labels = map[string]string{labelBase: labels[0], labelVersion: labels[1], labelRole: labels[2]}
		}
		return img
	}
	got := outlived([]images.Image{
		image("apron/"+old, 0),
		image(builtName(service, old), 0),
		image(builtName(service, fresh), 0),
		image(builtName(service, strings.Repeat("d", 32)), 2),
		image("apron.build/fetched:1", 8),
		image("apron.build/fetched:2", 1),
		image("apron.build/base/go:1-run-a", 20, "go", "1", "run"),
		image("apron.build/base/go:1-run-b", 10, "go", "1", "run"),
		image("apron.build/base/go:2-run-c", 30, "go", "2", "run"),
		image("somebody/else", 100),
	}, now)
	want := []string{builtName(service, old), builtName(service, strings.Repeat("d", 32)), "apron.build/fetched:1", "apron.build/base/go:1-run-a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLastCause(t *testing.T) {
	err := errors.New(`failed to solve: failed to compute cache key: failed to calculate checksum of ref khh9p::fvk0i: "/missing": not found`)
	if got, want := lastCause(err), `"/missing": not found`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestUnpackEnds: a package that is not wanted any more is not waited for, though dpkg-deb and what it has
// started would go on writing.
func TestUnpackEnds(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("there is no dpkg-deb")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"DEBIAN/control": "Package: large\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\nDescription: x\n",
		"usr/large":      strings.Repeat("x", 16<<20),
	} {
		name = filepath.Join(dir, "large", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	deb := filepath.Join(dir, "large.deb")
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--build", filepath.Join(dir, "large"), deb).CombinedOutput(); err != nil {
		t.Fatalf("make a package: %v\n%s", err, out)
	}
	enough := errors.New("enough")
	ended := make(chan error, 1)
	go func() {
		ended <- newTree(io.Discard).unpack(t.Context(), deb, func(h *tar.Header, _ io.Reader) (bool, error) {
			if h.Name == "usr/large" {
				return false, enough
			}
			return false, nil
		})
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, enough) {
			t.Errorf("unpacking ended with %v, want %v", err, enough)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("unpacking does not end")
	}
}
