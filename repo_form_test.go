package apron_test

import (
	"bufio"
	"bytes"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestPackageDocs(t *testing.T) {
	packages, docs := map[string]bool{}, map[string][]string{}
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		packages[f.dir] = true
		if f.ast.Doc == nil {
			continue
		}
		docs[f.dir] = append(docs[f.dir], f.path)
		want := "Package " + f.ast.Name.Name + " "
		if f.ast.Name.Name == "main" {
			want = "Command " + path.Base(f.dir) + " "
		}
		if text := f.ast.Doc.Text(); !f.generated && !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package doc begins %.40q, want %q", f.path, text, want)
		}
	}
	for dir := range packages {
		if len(docs[dir]) != 1 {
			t.Errorf("package %s has %d package docs %v, want 1", dir, len(docs[dir]), docs[dir])
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && !f.generated {
				t.Errorf("%s: no init functions; the wiring is in package server", f.at(fn))
			}
		}
	}
}

// TestNames refuses the names that say nothing: as a package, as a word of a file's name, as the
// last word of a type's.
func TestNames(t *testing.T) {
	banned := []string{
		"util", "utils", "common", "helper", "helpers", "base", "misc", "types", "models", "manager", "processor",
		"impl", "info", "data",
	}
	for _, f := range goFiles(t) {
		if name := strings.TrimSuffix(f.ast.Name.Name, "_test"); slices.Contains(banned, name) {
			t.Errorf("%s: package name %s says nothing", f.path, name)
		}
		stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
		for word := range strings.SplitSeq(stem, "_") {
			if slices.Contains(banned, word) && !f.generated {
				t.Errorf("%s: the word %s in the file's name says nothing", f.path, word)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if ts, ok := n.(*ast.TypeSpec); ok && !f.generated && slices.Contains(banned, lastWord(ts.Name.Name)) {
				t.Errorf("%s: the last word of type %s says nothing", f.at(ts), ts.Name.Name)
			}
			return true
		})
	}
}

// lastWord returns the last word of a camel-case name, in lower case.
func lastWord(name string) string {
	at := strings.LastIndexFunc(name, unicode.IsUpper)
	return strings.ToLower(name[max(at, 0):])
}

// TestFileLength stops a file long before it becomes the place for everything. Review aims at 300.
func TestFileLength(t *testing.T) {
	const limit = 500
	for _, f := range goFiles(t) {
		if n := f.fset.File(f.ast.Pos()).LineCount(); n > limit && !f.test && !f.generated {
			t.Errorf("%s has %d lines, more than %d: split it by noun or verb", f.path, n, limit)
		}
	}
}

// TestFuzzSeeds makes every fuzz target run something under plain go test.
func TestFuzzSeeds(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !f.test || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			corpus, _ := os.ReadDir(path.Join(f.dir, "testdata", "fuzz", fn.Name.Name))
			if len(corpus) == 0 && !calls(fn.Body, "Add") {
				t.Errorf("%s: %s has no seeds, neither f.Add nor in testdata/fuzz", f.at(fn), fn.Name.Name)
			}
		}
	}
}

// calls reports whether a method of that name is called in body.
func calls(body *ast.BlockStmt, method string) (found bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == method {
				found = true
			}
		}
		return !found
	})
	return found
}

// TestNoLocalTraces refuses what only means something on one person's machine, and addresses of
// package registries: which one serves a build is its environment's business. The entries are cut
// in two so that this file passes.
func TestNoLocalTraces(t *testing.T) {
	traces := regexp.MustCompile(`(?m)(^|[^\w.}/-])/(wo` + `rk|home/\w+|Users/\w+|tmp/br` + `ief|tmp/wa` + `rm)/|` +
		`registry\.npm` + `js\.org|registry\.ya` + `rnpkg\.com|py` + `pi\.org|python` + `hosted\.org|` +
		`proxy\.go` + `lang\.org|sum\.go` + `lang\.org|go` + `proxy\.io|crates` + `\.io|ruby` + `gems\.org|` +
		`repo1?\.ma` + `ven\.|deb\.deb` + `ian\.org`)
	for name, text := range textFiles(t) {
		for _, at := range traces.FindAllIndex(text, -1) {
			line := 1 + bytes.Count(text[:at[0]], []byte("\n"))
			t.Errorf("%s:%d: %q does not belong into the repository", name, line, text[at[0]:at[1]])
		}
	}
}

func TestLicense(t *testing.T) {
	text, err := os.ReadFile("LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("LICENSE lacks %q", want)
		}
	}
}

// TestChangelog checks the form: a title, then versions, newest first and the unreleased one before
// them, each a list of typed entries of one line.
func TestChangelog(t *testing.T) {
	file, err := os.Open("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	version := regexp.MustCompile(`^## (Unreleased|\d+\.\d+\.\d+ / \d{4}-\d{2}-\d{2})$`)
	entry := regexp.MustCompile(`^- (CHANGE|FEATURE|FIX|PERF|SECURITY): .*[^.\s]$`)
	var versions int
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case n == 1 && line != "# Changelog":
			t.Errorf("CHANGELOG.md begins %q, want # Changelog", line)
		case strings.HasPrefix(line, "## "):
			if versions++; !version.MatchString(line) || versions > 1 && line == "## Unreleased" {
				t.Errorf("CHANGELOG.md:%d: %q is not a version, or not in its place", n, line)
			}
		case n == 1, line == "", versions == 0: // the title, and what is said about the file
		case !entry.MatchString(line):
			t.Errorf("CHANGELOG.md:%d: want one line like %q without a full stop, got %q", n, "- FEATURE: …", line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if versions == 0 {
		t.Error("CHANGELOG.md has no version")
	}
}
