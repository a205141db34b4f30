package builder

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// manifest says which files dependencies are installed from, and how many of the first commands of a
// phase do nothing else. Those can run before the other sources are there, so that a change of the
// sources leaves what they installed as it is. Its zero value is for builds in which nothing is certain.
type manifest struct {
	files         []string // below the repository's root, with slashes
	build, preRun int
}

// findManifest looks at a plan and at the source directory (tree, whose path below the repository is
// dir). It says yes only where the result is the same as with all sources in place: no scripts of the
// project run, and no dependency is a directory of it.
func findManifest(l language, tree fs.FS, p Plan) manifest {
	var m manifest
	if strings.ContainsAny(p.SourceDirectory, "*?[]\\!#") { // the files are named in patterns
		return m
	}
	var files []string
	switch l {
	case langNode:
		if files = nodeManifest(tree); files != nil && len(p.PreBuild) == 0 {
			m.build = leading(p.Build, nodeInstall)
		}
	case langPython:
		if files = pythonManifest(tree); files != nil {
			if len(p.PreBuild) == 0 {
				m.build = leading(p.Build, pipInstall)
			}
			if !slices.ContainsFunc(slices.Concat(p.PreBuild, p.Build), writesRequirements) {
				m.preRun = leading(p.PreRun, pipInstallOutside)
			}
		}
	case langRuby:
		if files = rubyManifest(tree); files != nil && len(p.PreBuild) == 0 {
			m.build = leading(p.Build, bundleInstall)
		}
	case langGo:
		if files = goManifest(tree); files != nil && len(p.PreBuild) == 0 {
			m.build = leading(p.Build, goDownload)
		}
	case langJava, langPHP, langDotnet: // their package managers look at sources
	}
	if m.build == 0 && m.preRun == 0 {
		return manifest{}
	}
	for _, f := range files {
		m.files = append(m.files, path.Join(strings.Trim(p.SourceDirectory, "/"), f))
	}
	return m
}

// Commands that install dependencies and do nothing else. Options that name a place (--prefix, -C) or
// install elsewhere (-g) are not among them.
var (
	nodeInstall       = regexp.MustCompile(`^(npm (ci|i|install|clean-install)|yarn( install)?|pnpm (i|install))( (--production(=true)?|--only=(prod|production)|--omit=\w+|--no-audit|--no-fund|--frozen-lockfile|--no-optional|--legacy-peer-deps|--prefer-offline|--ignore-scripts|--silent|-s|--prod|-P|--force|--loglevel=\w+))*$`)
	pipInstall        = regexp.MustCompile(`^(pip3?|python3? -m pip) install( (--no-cache-dir|--upgrade|-U|-q|--quiet|--user|(-t|--target) [\w./-]+))* -r requirements\.txt( (--no-cache-dir|--upgrade|-U|-q|--quiet|--user|(-t|--target) [\w./-]+))*$`)
	pipInstallOutside = regexp.MustCompile(`^(pip3?|python3? -m pip) install( (--no-cache-dir|--upgrade|-U|-q|--quiet))* -r requirements\.txt( (--no-cache-dir|--upgrade|-U|-q|--quiet))*$`)
	bundleInstall     = regexp.MustCompile(`^(bundle install|bundle config( set)?( --local| --global)? [\w.]+ [\w./:-]+)( (--jobs[= ]\d+|--retry[= ]\d+|--quiet))*$`)
	goDownload        = regexp.MustCompile(`^go mod download( -x)?$`)
)

// writesRequirements reports whether a command may make another list of the one in the repository.
func writesRequirements(command string) bool {
	return !pipInstall.MatchString(strings.TrimSpace(command)) &&
		(strings.Contains(command, "requirements") || strings.Contains(command, "pip-compile"))
}

// leading returns how many of the first commands match.
func leading(commands []string, pattern *regexp.Regexp) int {
	for i, c := range commands {
		if !pattern.MatchString(strings.TrimSpace(c)) {
			return i
		}
	}
	return len(commands)
}

// maxManifest bounds what is read of a file of the repository.
const maxManifest = 8 << 20

// read returns a file of the source directory, or nil when there is none that can be judged: absent,
// not a plain file, too large.
func read(tree fs.FS, name string) []byte {
	st, err := fs.Stat(tree, name)
	if err != nil || !st.Mode().IsRegular() || st.Size() > maxManifest {
		return nil
	}
	b, err := fs.ReadFile(tree, name)
	if err != nil {
		return nil
	}
	return b
}

// existing returns those of the names that are there.
func existing(tree fs.FS, names ...string) []string {
	return slices.DeleteFunc(names, func(n string) bool {
		st, err := fs.Lstat(tree, n)
		return err != nil || !st.Mode().IsRegular()
	})
}

func nodeManifest(tree fs.FS) []string {
	var doc struct {
		Scripts              map[string]string
		Workspaces           json.RawMessage
		Dependencies         map[string]string
		DevDependencies      map[string]string
		OptionalDependencies map[string]string
		Gypfile              json.RawMessage
	}
	if json.Unmarshal(read(tree, "package.json"), &doc) != nil || doc.Workspaces != nil || doc.Gypfile != nil {
		return nil
	}
	for _, name := range []string{
		"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies",
	} {
		if doc.Scripts[name] != "" {
			return nil
		}
	}
	for _, deps := range []map[string]string{doc.Dependencies, doc.DevDependencies, doc.OptionalDependencies} {
		for _, at := range slices.Collect(maps.Values(deps)) {
			if strings.HasPrefix(at, ".") || strings.HasPrefix(at, "/") || strings.HasPrefix(at, "~/") ||
				slices.ContainsFunc([]string{"file:", "link:", "portal:", "workspace:", "patch:"}, func(p string) bool { return strings.HasPrefix(at, p) }) {
				return nil
			}
		}
	}
	for _, name := range []string{"node_modules", "binding.gyp", ".yarnrc.yml", ".yarn", "pnpm-workspace.yaml", ".pnpmfile.cjs", "patches"} {
		if _, err := fs.Lstat(tree, name); err == nil {
			return nil
		}
	}
	return existing(tree, "package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", ".npmrc", ".yarnrc")
}

func pythonManifest(tree fs.FS) []string {
	text := read(tree, "requirements.txt")
	if text == nil {
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxManifest)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		// An option, a path, or a path behind a name.
		if strings.HasPrefix(line, "-") && !strings.HasPrefix(line, "--hash") || strings.ContainsAny(line[:1], "./") ||
			strings.Contains(line, "file:") || strings.HasSuffix(line, ".whl") || strings.Contains(line, "@ .") {
			return nil
		}
	}
	return []string{"requirements.txt"}
}

func rubyManifest(tree fs.FS) []string {
	text := read(tree, "Gemfile")
	if text == nil {
		return nil
	}
	for _, word := range []string{"path", "gemspec", "eval_gemfile", "require", "File.", "Dir.", "instance_eval"} {
		if bytes.Contains(text, []byte(word)) {
			return nil
		}
	}
	return existing(tree, "Gemfile", "Gemfile.lock", ".ruby-version", ".tool-versions")
}

func goManifest(tree fs.FS) []string {
	text := read(tree, "go.mod")
	if text == nil || bytes.Contains(text, []byte("=> .")) || bytes.Contains(text, []byte("=> /")) {
		return nil
	}
	return existing(tree, "go.mod", "go.sum")
}
