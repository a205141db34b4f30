package source

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// runtimes returns App Runner's managed runtimes as configuration files name them, and whether each
// has the revised build, the one with a pre-run phase (developer guide, "managed runtimes").
func runtimes() map[string]bool {
	return map[string]bool{
		"python3": false, "python311": true, "nodejs12": false, "nodejs14": false, "nodejs16": false, "nodejs18": true,
		"nodejs22": true, "corretto8": false, "corretto11": false, "dotnet6": false, "go1": false, "php81": false, "ruby31": false,
	}
}

// naturalRuntime matches the names that further runtimes have or would have. Which of them there are
// is the builder's knowledge.
var naturalRuntime = regexp.MustCompile(`^(?:python3|nodejs|corretto|dotnet|go|php|ruby)[0-9]{1,3}$`)

// RuntimeFromAPI returns the name that configuration files have for a value of the API enum Runtime,
// such as python311 for PYTHON_311.
func RuntimeFromAPI(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

func (r *configurationReader) runtime(n *yaml.Node, at string) {
	name := r.text(n, at)
	_, known := runtimes()[name]
	if r.c.Runtime, r.c.RuntimeLine = name, n.Line; name == "" || known || name == RuntimeDocker || naturalRuntime.MatchString(name) {
		return
	}
	r.fail(n, at, "%s is no managed runtime%s", name, suggestion(name))
}

// suggestion names the runtimes whose names begin like the one asked for, or all of them.
func suggestion(name string) string {
	var like, all []string
	letters := strings.TrimRight(strings.ToLower(RuntimeFromAPI(name)), "0123456789.-v ")
	aliases := map[string]string{"node": "nodejs", "golang": "go", "java": "corretto", "py": "python", "net": "dotnet"}
	if other, ok := aliases[letters]; ok {
		letters = other
	}
	for known := range runtimes() {
		all = append(all, known)
		if letters != "" && strings.TrimRight(known, "0123456789") == letters {
			like = append(like, known)
		}
	}
	if len(like) == 0 {
		like = all
	}
	slices.Sort(like)
	return "; there are " + strings.Join(like, ", ")
}

// checkRuntime refuses what the runtime's build has no place for.
func (r *configurationReader) checkRuntime() {
	revised, known := runtimes()[r.c.Runtime]
	if known && !revised && len(r.c.PreRun) > 0 {
		r.failAt("run.pre-run", "the build of %s has no pre-run phase; its build commands run in the run image too", r.c.Runtime)
	}
	if r.c.Runtime == RuntimeDocker && (len(r.c.PreBuild) > 0 || len(r.c.Build) > 0 || len(r.c.PostBuild) > 0 || len(r.c.PreRun) > 0) {
		r.warn(r.keys["build.commands"], "build.commands", "the Dockerfile is what is built; commands are ignored")
	}
}
