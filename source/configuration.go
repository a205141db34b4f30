package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"

	"apron"
)

// ConfigurationName is the one name a configuration file can have. App Runner reads no other, in
// particular not apprunner.yml.
const ConfigurationName = "apprunner.yaml"

// RuntimeDocker is the runtime, no managed one, that builds a Dockerfile (extension).
const RuntimeDocker = "docker"

// Configuration is what a configuration file says (developer guide, "App Runner configuration file
// reference"). Every value is the text that stands in the file: 3.10 stays 3.10. Commands, names and
// values are sensitive: never log them.
type Configuration struct {
	Runtime        string // identifier of a managed runtime as the file has it, such as python311; or RuntimeDocker
	RuntimeVersion string // empty: the newest
	RuntimeLine    int    // where Runtime stands, from 1; 0: nowhere
	VersionLine    int    // where RuntimeVersion stands
	PreBuild       []string
	Build          []string
	PostBuild      []string
	PreRun         []string
	BuildEnv       []Variable // in the file's order, no name twice; seen by all commands but Run's
	Dockerfile     string     // path below the source directory; empty unless Runtime is RuntimeDocker
	// Run is how the application starts. Its Port is never empty. The variable that network.env names
	// is one of Env.
	Run apron.RunConfiguration
}

// Variable is one environment variable.
type Variable struct{ Name, Value string }

// Problem is something about a configuration file that its author should know.
type Problem struct {
	Line  int    // from 1; 0: the file as a whole
	Key   string // path of the key, such as run.network.port; empty: none in particular
	Text  string // a sentence without its full stop
	Fatal bool   // the file cannot be used
}

// String returns the problem in one line, such as "line 7, run.network.port: it is no number".
func (p Problem) String() string {
	var where []string
	if p.Line > 0 {
		where = append(where, fmt.Sprintf("line %d", p.Line))
	}
	if p.Key != "" {
		where = append(where, p.Key)
	}
	if len(where) == 0 {
		return p.Text
	}
	return strings.Join(where, ", ") + ": " + p.Text
}

// Problems is what was found in a configuration file, in the order of its lines as far as possible.
type Problems []Problem

// Err returns nil when the file can be used, and otherwise an Invalid Fault that names what makes it
// unusable.
func (p Problems) Err() error {
	var fatal []string
	for _, one := range p {
		if one.Fatal {
			fatal = append(fatal, one.String())
		}
	}
	if len(fatal) == 0 {
		return nil
	}
	return apron.Faultf(apron.Invalid, "Failed to validate configuration file: %s.", strings.Join(fatal, "; "))
}

// Bounds of a configuration file. Real ones have some 30 lines.
const (
	maxConfigurationBytes = 256 << 10
	maxProblems           = 20
)

// ParseConfiguration reads a configuration file. It is pure. Whatever the problems say, text is never
// part of them but for names of keys, runtimes and variables; with a fatal one the Configuration is of
// no use.
func ParseConfiguration(text []byte) (Configuration, Problems) {
	r := &configurationReader{}
	r.c.Run.Port = "8080" // developer guide: the default of run.network.port
	if root := r.document(text); root != nil {
		r.root(root)
	}
	return r.c, r.problems
}

// configurationReader walks the document, one method per mapping of it.
type configurationReader struct {
	c        Configuration
	problems Problems
	hadPort  bool       // PORT is one of the variables in run.env
	portLine *yaml.Node // where
	portVar  string     // run.network.env
	given    map[string]bool
	keys     map[string]*yaml.Node // by path
}

// document returns the file's one document, or nil when there is none.
func (r *configurationReader) document(text []byte) *yaml.Node {
	if len(text) > maxConfigurationBytes {
		r.fail(nil, "", "it is larger than %d KiB", maxConfigurationBytes>>10)
		return nil
	}
	text = quoteOpenEnds(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || doc.Content[0].Tag == "!!null"):
		r.fail(nil, "", "it is empty")
		return nil
	case err != nil:
		r.fail(nil, "", "it is no YAML: %s%s", strings.TrimPrefix(err.Error(), "yaml: "), indentation(err))
		return nil
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		r.fail(nil, "", "it has more than one document")
		return nil
	}
	return doc.Content[0]
}

// indentation says what is meant by what the YAML library says of lines that do not stand below each
// other, with the line of where their mapping or list begins.
func indentation(err error) string {
	for _, said := range []string{"did not find expected", "cannot start any token", "mapping values are not allowed"} {
		if strings.Contains(err.Error(), said) {
			return "; look at the indentation from there on: spaces only, and as many for each key of a mapping or entry of a list"
		}
	}
	return ""
}

func (r *configurationReader) root(n *yaml.Node) {
	r.given, r.keys = map[string]bool{}, map[string]*yaml.Node{}
	r.mapping(n, "", members{
		"version": func(n *yaml.Node, at string) {
			if v := r.text(n, at); v != "1.0" && v != "1" && v != "" {
				r.fail(n, at, "only version 1.0 is known")
			}
		},
		"runtime": func(n *yaml.Node, at string) { r.runtime(n, at) },
		"build":   r.build,
		"run":     r.run,
		"x-apron": func(n *yaml.Node, at string) {
			r.mapping(n, at, members{"dockerfile": func(n *yaml.Node, at string) { r.dockerfile(n, at) }})
		},
	})
	r.require(n, "version", "runtime")
	if r.c.Runtime == RuntimeDocker {
		if r.c.Dockerfile == "" {
			r.c.Dockerfile = "Dockerfile"
		}
	} else {
		r.require(n, "build", "build.commands", "build.commands.build", "run", "run.command")
		if r.given["build.commands.build"] && len(r.c.Build) == 0 {
			r.failAt("build.commands.build", "it has no command")
		}
		if r.c.Dockerfile != "" {
			r.failAt("x-apron.dockerfile", "it needs runtime: docker")
		}
	}
	r.checkRuntime()
	r.settlePort()
}

func (r *configurationReader) build(n *yaml.Node, at string) {
	r.mapping(n, at, members{
		"commands": r.commands,
		"env":      func(n *yaml.Node, at string) { r.c.BuildEnv = r.variables(n, at, "value") },
	})
}

func (r *configurationReader) commands(n *yaml.Node, at string) {
	if n.Kind != yaml.MappingNode && n.Kind != 0 && n.Tag != "!!null" {
		r.warn(n, at, "commands belong below %s.build; they are taken as the build", at)
		r.given[at+".build"] = true
		r.c.Build = r.list(n, at+".build")
		return
	}
	r.mapping(n, at, members{
		"pre-build":  func(n *yaml.Node, at string) { r.c.PreBuild = r.list(n, at) },
		"build":      func(n *yaml.Node, at string) { r.c.Build = r.list(n, at) },
		"post-build": func(n *yaml.Node, at string) { r.c.PostBuild = r.list(n, at) },
	})
}

func (r *configurationReader) run(n *yaml.Node, at string) {
	r.mapping(n, at, members{
		"runtime-version": func(n *yaml.Node, at string) { r.c.RuntimeVersion, r.c.VersionLine = r.text(n, at), n.Line },
		"pre-run":         func(n *yaml.Node, at string) { r.c.PreRun = r.list(n, at) },
		"command":         func(n *yaml.Node, at string) { r.c.Run.StartCommand = strings.TrimSpace(r.text(n, at)) },
		"network":         r.network,
		"env":             r.environment,
		"secrets":         r.secrets,
	})
}

func (r *configurationReader) network(n *yaml.Node, at string) {
	r.mapping(n, at, members{
		"port": func(n *yaml.Node, at string) { r.port(n, at) },
		"env": func(n *yaml.Node, at string) {
			if r.portVar = r.text(n, at); !validName(r.portVar) {
				r.fail(n, at, "it is no name of an environment variable")
			}
		},
	})
}
