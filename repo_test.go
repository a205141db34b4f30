package apron_test

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules of this repository that a program can check. They read the files in this process: a
// rule that ran `go list` would answer from the test cache after a violation.

// anything, in the import table, stands for every package of ours.
const anything = "*"

// importTable says which packages of ours each package may import, besides the root package, which
// all may. A package that is not in it may not exist; a new folder at the top needs an ADR. Files
// of tests may import anything but what wires or starts a whole server (see wiring).
func importTable() map[string][]string {
	return map[string][]string{
		".":         {},                                                  // the vocabulary: standard library only
		"cmd/apron": {"server", "source", "router", "engine/containerd"}, // one command per role, and apron push
		"server":    {anything},
		"e2e":       {anything},

		// Control plane, in the order a request passes.
		"api":               {"sigv4", "auth", "control"},
		"api/gen":           {}, // writes api/wire.go from the model
		"sigv4":             {}, // nothing of ours, not even the root
		"auth":              {"store"},
		"control":           {"store"},
		"store":             {},
		"store/storetest":   {"store"},
		"operation":         {"store"},
		"deploy":            {"store", "operation", "source", "builder", "fleet", "logs"},
		"source":            {},
		"builder":           {},
		"secrets":           {"store"},
		"fleet":             {"store", "engine", "autoscale", "secrets", "logs", "metrics"},
		"engine":            {},
		"engine/enginetest": {"engine", "health"},
		"engine/containerd": {"engine", "engine/containerd/embed", "engine/containerd/logfile", "health"},
		"engine/kubernetes": {"engine", "health"},
		"health":            {},
		"autoscale":         {},

		"engine/containerd/embed":     {},                            // runc and the shim, compressed
		"engine/containerd/embed/gen": {},                            // builds them
		"engine/containerd/logfile":   {},                            // what instances write
		"engine/containerd/shim":      {"engine/containerd/logfile"}, // the program that keeps an instance

		// Data plane.
		"router": {},
		"certs":  {"store"},

		// Embedded hosts and surfaces.
		"registry": {}, // nothing of ours, not even the root
		"githost":  {}, // nothing of ours, not even the root
		"logs":     {},
		"metrics":  {},
		"web":      {"auth", "logs", "metrics"},

		"examples/hello": {}, // an application like any other: nothing of ours
	}
}

// foreign lists the packages that may not import even the root: they could be modules of their own.
func foreign() []string {
	return []string{"sigv4", "registry", "githost", "examples/hello", "api/gen", "engine/containerd/embed/gen"}
}

// wiring lists the packages only their own kind may import, in tests as well.
func wiring() map[string][]string {
	return map[string][]string{"server": {"cmd/apron", "e2e"}, "cmd/apron": {}, "e2e": {}}
}

func TestImports(t *testing.T) {
	table, wiring := importTable(), wiring()
	for _, f := range goFiles(t) {
		allowed, ok := table[f.dir]
		if !ok {
			t.Errorf("%s: package %s is not in the import table; a new folder needs an ADR", f.path, f.dir)
			continue
		}
		for _, spec := range f.ast.Imports {
			imported, ours := ourPackage(importPath(spec))
			if !ours || imported == f.dir {
				continue
			}
			if importers, ok := wiring[imported]; ok && !slices.Contains(importers, f.dir) {
				t.Errorf("%s: only %v may import %s", f.path, importers, imported)
			}
			if f.test || slices.Contains(allowed, anything) || slices.Contains(allowed, imported) ||
				imported == "." && !slices.Contains(foreign(), f.dir) {
				continue
			}
			t.Errorf("%s: %s may not import %s", f.path, f.dir, imported)
		}
	}
}

// ourPackage returns the folder of an import path of this module, "." for the root.
func ourPackage(importPath string) (dir string, ours bool) {
	if importPath == "apron" {
		return ".", true
	}
	return strings.CutPrefix(importPath, "apron/")
}

func TestImportTableHasNoCycle(t *testing.T) {
	table := importTable()
	var visit func(pkg string, walk []string)
	visit = func(pkg string, walk []string) {
		if slices.Contains(walk, pkg) {
			t.Errorf("import cycle: %v", append(walk, pkg))
			return
		}
		for _, imported := range table[pkg] {
			if imported == anything {
				continue
			}
			if _, ok := table[imported]; !ok {
				t.Errorf("%s may import %s, which is not in the table", pkg, imported)
			}
			visit(imported, append(slices.Clone(walk), pkg))
		}
	}
	for pkg := range table {
		visit(pkg, nil)
	}
}

// TestRoot keeps the root package a vocabulary: no I/O, no interfaces, nothing of the wire or the
// database.
func TestRoot(t *testing.T) {
	banned := []string{
		"bufio", "context", "database/sql", "encoding/json", "encoding/xml", "io", "io/fs", "log", "log/slog",
		"net", "net/http", "os", "os/exec", "syscall",
	}
	for _, f := range goFiles(t) {
		if f.dir != "." || f.test {
			continue
		}
		for _, spec := range f.ast.Imports {
			p := importPath(spec)
			first, _, _ := strings.Cut(p, "/")
			if _, ours := ourPackage(p); ours || strings.Contains(first, ".") || slices.Contains(banned, p) {
				t.Errorf("%s: the root package may not import %s", f.path, p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.InterfaceType:
				t.Errorf("%s: the root package holds no interface; declare it where it is used", f.at(n))
			case *ast.Field:
				if n.Tag != nil {
					t.Errorf("%s: the root package holds no tags; wire and rows have structs of their own", f.at(n.Tag))
				}
			}
			return true
		})
	}
}

// goFile is one Go file of the repository.
type goFile struct {
	path, dir string // from the root, with slashes; dir "." is the root
	fset      *token.FileSet
	ast       *ast.File
	test      bool
	generated bool
}

func (f goFile) at(n ast.Node) token.Position { return f.fset.Position(n.Pos()) }

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
	return p
}

// goFiles parses every Go file of the repository outside testdata.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	for name, text := range textFiles(t) {
		if path.Ext(name) != ".go" || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parse: %v", err)
			continue
		}
		files = append(files, goFile{
			path: name, dir: path.Dir(name), fset: fset, ast: tree,
			test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(tree),
		})
	}
	if len(files) == 0 {
		t.Fatal("no Go files: the test does not run at the root of the repository")
	}
	return files
}

// textFiles returns every file of the repository that is not binary, by its path from the root.
// What git ignores (see .gitignore) is left out, as are the embedded programs.
func textFiles(t *testing.T) map[string][]byte {
	t.Helper()
	skipped := []string{".git", ".cache", "bin"}
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // an editor's temporary file, gone since the folder was listed
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains(skipped, name) || d.Name() == "node_modules"):
			return fs.SkipDir
		case !d.Type().IsRegular() || path.Ext(name) == ".zst":
			return nil
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !bytes.Contains(text[:min(len(text), 8000)], []byte{0}) {
			files[name] = text
		}
		return err
	})
	if err != nil {
		t.Fatalf("read the repository: %v", err)
	}
	return files
}
