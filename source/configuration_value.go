package source

import (
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// port reads run.network.port, which is a number whether or not it is quoted.
func (r *configurationReader) port(n *yaml.Node, at string) {
	text := r.text(n, at)
	if text == "" {
		return
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		r.fail(n, at, "it is no port number, 1 to 65535")
		return
	}
	r.c.Run.Port = strconv.FormatUint(port, 10)
}

func (r *configurationReader) dockerfile(n *yaml.Node, at string) {
	if r.c.Dockerfile = r.text(n, at); r.c.Dockerfile != "" && !filepath.IsLocal(r.c.Dockerfile) {
		r.fail(n, at, "it is no path below the source directory")
	}
}

// environment reads run.env. Of PORT only the declared port counts, because the platform sets it.
func (r *configurationReader) environment(n *yaml.Node, at string) {
	r.c.Run.Env = map[string]string{}
	for _, v := range r.variables(n, at, "value") {
		if v.Name == portVariable {
			r.hadPort, r.portLine = true, n
			continue
		}
		r.c.Run.Env[v.Name] = v.Value
	}
}

func (r *configurationReader) secrets(n *yaml.Node, at string) {
	r.c.Run.Secrets = map[string]string{}
	for _, v := range r.variables(n, at, "value-from") {
		if v.Name == portVariable {
			r.fail(n, at, "PORT is reserved: it is always the port of run.network.port")
		}
		if v.Value == "" {
			r.fail(n, at, "value-from of %s is empty", v.Name)
		}
		r.c.Run.Secrets[v.Name] = v.Value
	}
}

// portVariable is set for every application (developer guide, "PORT").
const portVariable = "PORT"

// settlePort gives the application the additional variable that run.network.env names. Many files
// name PORT there and set it in run.env as well; the declared port wins.
func (r *configurationReader) settlePort() {
	if r.hadPort {
		text := "PORT is reserved: it is always the port of run.network.port"
		if r.portVar == portVariable {
			r.warn(r.portLine, "run.env", "%s", text)
		} else {
			r.fail(r.portLine, "run.env", "%s", text)
		}
	}
	for name := range r.c.Run.Secrets {
		if _, twice := r.c.Run.Env[name]; twice {
			r.failAt("run.secrets", "%s is in run.env too", name)
		}
	}
	if r.portVar == "" || r.portVar == portVariable {
		return
	}
	if r.c.Run.Env == nil {
		r.c.Run.Env = map[string]string{}
	}
	if was, set := r.c.Run.Env[r.portVar]; set && was != r.c.Run.Port {
		r.warn(r.keys["run.network.env"], "run.network.env", "%s is in run.env too; the port is what counts", r.portVar)
	}
	r.c.Run.Env[r.portVar] = r.c.Run.Port
}

// variables reads a list of mappings with the keys name and valueKey. The later of two with one name
// wins.
func (r *configurationReader) variables(n *yaml.Node, at, valueKey string) []Variable {
	if n.Kind == yaml.MappingNode {
		r.fail(n, at, "it must be a list of entries with name and %s", valueKey)
		return nil
	}
	var list []Variable
	index := map[string]int{}
	for _, entry := range r.items(n, at) {
		var v Variable
		var named, valued bool
		r.mapping(entry, at, members{
			"name":   func(n *yaml.Node, at string) { v.Name, named = r.text(n, at), true },
			valueKey: func(n *yaml.Node, at string) { v.Value, valued = r.text(n, at), true },
		})
		switch {
		case entry.Kind != yaml.MappingNode: // said already
			continue
		case !named || !valued:
			r.fail(entry, at, "an entry needs name and %s", valueKey)
			continue
		case !validName(v.Name):
			r.fail(entry, at+".name", "it is no name of an environment variable")
			continue
		case strings.ContainsRune(v.Value, 0):
			r.fail(entry, at+"."+valueKey, "it has a NUL character")
			continue
		}
		if i, twice := index[v.Name]; twice {
			r.warn(entry, at, "%s is set twice; the later value counts", v.Name)
			list[i].Value = v.Value
			continue
		}
		index[v.Name] = len(list)
		list = append(list, v)
	}
	return list
}

// validName reports whether a process can be given a variable of the name (POSIX, 8.1).
func validName(name string) bool {
	return name != "" && len(name) <= 1024 && !strings.ContainsAny(name, "=\x00\n")
}

// list reads commands: a list of them, or a single one.
func (r *configurationReader) list(n *yaml.Node, at string) []string {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return r.command(nil, n, at)
	}
	var list []string
	for _, item := range r.items(n, at) {
		list = r.command(list, item, at)
	}
	return list
}

// command appends one command.
func (r *configurationReader) command(list []string, n *yaml.Node, at string) []string {
	if n.Kind == yaml.MappingNode {
		r.fail(n, at, `a command is a mapping: put one with ": " in it in quotes`)
		return list
	}
	text := r.text(n, at)
	if n.Kind != yaml.ScalarNode {
		return list
	}
	if strings.TrimSpace(text) == "" || n.Tag == "!!null" {
		r.warn(n, at, "a command is empty and left out")
		return list
	}
	if strings.ContainsRune(text, 0) {
		r.fail(n, at, "a command has a NUL character")
		return list
	}
	words := strings.Fields(text)
	if words[0] == "cd" && len(words) == 2 && !strings.ContainsAny(text, ";&|\n") {
		r.warn(n, at, "each command begins in the source directory, so a command that is only cd changes nothing; join it to the next with &&")
	}
	return append(list, text)
}
