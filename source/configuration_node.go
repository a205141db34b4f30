package source

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// members is what may stand in a mapping, by key.
type members map[string]func(n *yaml.Node, at string)

// mapping hands each value of a mapping to the reader of its key and notes that it was given. A key
// nobody knows is a warning, which says where the key belongs if it is a known one; a key that stands
// twice is fatal.
func (r *configurationReader) mapping(n *yaml.Node, path string, known members) {
	n = follow(n)
	if n.Kind != yaml.MappingNode {
		r.fail(n, path, "it must be a mapping")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], follow(n.Content[i+1])
		at := strings.TrimPrefix(path+"."+key.Value, ".")
		read := known[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
			r.fail(key, path, "only plain keys are known here")
		case seen[key.Value]:
			r.fail(key, at, "it is there twice")
		case read == nil:
			r.warn(key, at, "unknown and ignored%s", hint(key.Value, path))
		default:
			r.keys[at] = key
			r.given[at] = value.Kind != yaml.ScalarNode || strings.TrimSpace(value.Value) != ""
			read(value, at)
		}
		seen[key.Value] = true
	}
}

// follow returns what an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// require makes the lack of a key fatal. The lack of what it belongs to has been said by then.
func (r *configurationReader) require(n *yaml.Node, keys ...string) {
	for _, key := range keys {
		parent := key[:max(strings.LastIndexByte(key, '.'), 0)]
		if !r.given[key] && (parent == "" || r.given[parent]) {
			at := n
			if r.keys[parent] != nil {
				at = r.keys[parent]
			}
			r.fail(at, key, "it is missing")
		}
	}
}

// items returns the elements of a list. Nothing at all is an empty one.
func (r *configurationReader) items(n *yaml.Node, at string) []*yaml.Node {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil
	case n.Kind != yaml.SequenceNode:
		r.fail(n, at, "it must be a list")
		return nil
	}
	list := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		list[i] = follow(item)
	}
	return list
}

// text returns a scalar as it stands in the file: a number, a date and yes are text.
func (r *configurationReader) text(n *yaml.Node, at string) string {
	if n.Kind != yaml.ScalarNode {
		r.fail(n, at, "it must be text")
		return ""
	}
	return n.Value
}

func (r *configurationReader) fail(n *yaml.Node, key, format string, args ...any) {
	r.note(n, key, true, format, args...)
}

// failAt is fail for a key that is there.
func (r *configurationReader) failAt(key, format string, args ...any) {
	r.fail(r.keys[key], key, format, args...)
}

func (r *configurationReader) warn(n *yaml.Node, key, format string, args ...any) {
	r.note(n, key, false, format, args...)
}

// note records a problem. A file full of them is not worth a line each, but a fatal one must be
// among those recorded.
func (r *configurationReader) note(n *yaml.Node, key string, fatal bool, format string, args ...any) {
	p := Problem{Key: shown(key), Text: shown(fmt.Sprintf(format, args...)), Fatal: fatal}
	if n != nil {
		p.Line = n.Line
	}
	switch {
	case len(r.problems) < maxProblems:
		r.problems = append(r.problems, p)
	case fatal && !slices.ContainsFunc(r.problems, func(p Problem) bool { return p.Fatal }):
		r.problems[maxProblems-1] = p
	}
}

// shown makes one short line of what may come from the file.
func shown(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}

// hint says where a known key belongs that stands in the wrong place.
func hint(key, path string) string {
	places := map[string]string{
		"pre-build": "build.commands.pre-build", "post-build": "build.commands.post-build", "commands": "build.commands",
		"pre-run": "run.pre-run", "runtime-version": "run.runtime-version", "command": "run.command",
		"network": "run.network", "port": "run.network.port", "secrets": "run.secrets", "env": "build.env or run.env",
		"start": "run.command", "start-command": "run.command", "version": "version", "runtime": "runtime",
		"build": "build.commands.build", "run": "run", "dockerfile": "x-apron.dockerfile", "value-from": "run.secrets",
	}
	elsewhere := []string{
		"cpu", "memory", "instance", "instance-configuration", "health-check", "healthcheck", "health", "auto-scaling",
		"autoscaling", "scaling", "observability", "branch", "source-directory", "tags", "instance-role", "vpc",
	}
	switch {
	case places[key] != "" && places[key] != strings.TrimPrefix(path+"."+key, "."):
		return "; it belongs at " + places[key]
	case slices.Contains(elsewhere, strings.ReplaceAll(strings.ToLower(key), "_", "-")):
		return "; it can be set with the API only"
	default:
		return ""
	}
}

// openEnd matches a secret's ARN that ends in a colon and is not quoted. YAML takes it for a key,
// but published files are full of them.
var openEnd = regexp.MustCompile(`(?m)^([ \t]*(?:-[ \t]+)?value-from[ \t]*:[ \t]+)(arn:[^\s"'#]*:)([ \t]*\r?)$`)

// quoteOpenEnds puts such ARNs in quotes. No line moves.
func quoteOpenEnds(text []byte) []byte { return openEnd.ReplaceAll(text, []byte(`${1}"${2}"${3}`)) }
