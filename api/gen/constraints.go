package main

import (
	"fmt"
	"strconv"
	"strings"
)

// matchers names the shapes whose pattern Go's regexp cannot take as it stands, with the Go
// expression that does its work. An empty expression leaves the length as the only check.
func matchers() map[string]string {
	return map[string]string{
		// Counts past Go's limit, or so high that they compile to a huge program. The length of
		// the whole value is limited apart, so + accepts the same values.
		"AppRunnerResourceArn": anchored(`arn:aws(-[\w]+)*:[a-z0-9-\\.]{0,63}:[a-z0-9-\\.]{0,63}:[0-9]{12}:[\w/-]+`),
		"RoleArn":              anchored(`arn:(aws|aws-us-gov|aws-cn|aws-iso|aws-iso-b):iam::[0-9]{12}:(role|role\/service-role)\/[\w+=,.@\-/]+`),
		"DomainName":           anchored(`[A-Za-z0-9*.-]+`),
		"TagKey":               "matchTagKey",          // look-ahead
		"ImageIdentifier":      "matchImageIdentifier", // widened to any OCI reference
	}
}

func anchored(pattern string) string {
	return "regexp.MustCompile(" + quote("^(?:"+pattern+")$") + ").MatchString"
}

func quote(s string) string {
	if strings.Contains(s, "`") {
		return strconv.Quote(s)
	}
	return "`" + s + "`"
}

// constraints returns the table of shapes that requests are made of, and that of the actions.
func constraints(m *model) *strings.Builder {
	b := &strings.Builder{}
	b.WriteString("import (\n\t\"reflect\"\n\t\"regexp\"\n)\n\nvar (\n")
	for _, s := range m.inputs() {
		writeShape(b, s)
	}
	b.WriteString(")\n\n// models describes every action of the API, by name.\nvar models = map[string]*model{\n")
	for _, a := range m.Actions {
		fmt.Fprintf(b, "\t%q: {name: %q, input: shape%s, in: reflect.TypeFor[%s](), out: reflect.TypeFor[%s](), errors: %s},\n",
			a.Name, a.Name, a.Input, a.Input, a.Output, errorSet(a.Errors))
	}
	b.WriteString("}\n")
	return b
}

// errorSet turns exception names into the flags of fault.go.
func errorSet(names []string) string {
	flags := make([]string, 0, len(names))
	for _, n := range names {
		flags = append(flags, "has"+strings.TrimSuffix(n, "Exception"))
	}
	return strings.Join(flags, " | ")
}

func writeShape(b *strings.Builder, s *shape) {
	fmt.Fprintf(b, "\tshape%s = &shape{name: %q, kind: kind%s", s.Name, s.Name, strings.ToUpper(s.Type[:1])+s.Type[1:])
	if s.Type == "string" || s.Type == "integer" {
		fmt.Fprintf(b, ", min: %s, max: %s", limit(s.Min, "noMin"), limit(s.Max, "noMax"))
	}
	if match := matcher(s); match != "" {
		fmt.Fprintf(b, ", pattern: %s, match: %s", quote(s.Pattern), match)
	}
	if len(s.Enum) > 0 {
		fmt.Fprintf(b, ", enum: %#v", s.Enum)
	}
	if s.Sensitive {
		b.WriteString(", sensitive: true")
	}
	if s.Key != "" {
		fmt.Fprintf(b, ", key: shape%s", s.Key)
	}
	if s.Of != "" {
		fmt.Fprintf(b, ", of: shape%s", s.Of)
	}
	if s.Type == "structure" {
		b.WriteString(", members: []member{\n")
		for _, mb := range s.Members {
			fmt.Fprintf(b, "\t\t{name: %q, path: %q, shape: shape%s", mb.Name, lowerCamel(mb.Name), mb.Shape)
			if mb.Required {
				b.WriteString(", required: true")
			}
			b.WriteString("},\n")
		}
		b.WriteString("\t}")
	}
	b.WriteString("}\n")
}

// matcher returns the Go expression that checks the shape's pattern, empty when there is nothing
// to check: ".*" would only forbid line breaks, which environment values may well hold.
func matcher(s *shape) string {
	if s.Pattern == "" || s.Pattern == ".*" {
		return ""
	}
	if own, ok := matchers()[s.Name]; ok {
		return own
	}
	return anchored(s.Pattern)
}

func limit(n *int, none string) string {
	if n == nil {
		return none
	}
	return strconv.Itoa(*n)
}

func lowerCamel(s string) string { return strings.ToLower(s[:1]) + s[1:] }
