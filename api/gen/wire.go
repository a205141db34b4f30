package main

import (
	"fmt"
	"strings"
)

// wire returns the Go structs of every structure in the model. Field i of a struct is member i of
// its shape: the decoder relies on it.
func wire(m *model) *strings.Builder {
	docs := map[string]string{}
	for _, a := range m.Actions {
		docs[a.Input] = "is the input of " + a.Name + "."
		docs[a.Output] = "is the output of " + a.Name + "."
	}
	b := &strings.Builder{}
	for _, s := range m.Shapes {
		if s.Type != "structure" {
			continue
		}
		doc := docs[s.Name]
		if doc == "" {
			doc = "is the API's structure of that name."
		}
		fmt.Fprintf(b, "// %s %s\ntype %s struct {\n", s.Name, doc, s.Name)
		for _, mb := range s.Members {
			writeField(b, m, mb)
		}
		b.WriteString("}\n\n")
	}
	return b
}

// writeField writes one member. An absent optional member is nil: a pointer, or a nil list or map;
// an empty list or map that is not nil is sent as such.
func writeField(b *strings.Builder, m *model, mb member) {
	tag, typ, comment := mb.Name, m.goType(mb), ""
	if !mb.Required {
		tag += ",omitzero"
	}
	if m.sensitive(mb.Shape) {
		comment = " // sensitive"
	}
	fmt.Fprintf(b, "\t%s %s `json:%q`%s\n", mb.Name, typ, tag, comment)
}

func (m *model) goType(mb member) string {
	s := m.byName[mb.Shape]
	switch s.Type {
	case "list":
		elem := m.goType(member{Shape: s.Of, Required: true})
		if mb.Required {
			return "List[" + elem + "]"
		}
		return "[]" + elem
	case "map":
		return "map[string]" + m.goType(member{Shape: s.Of, Required: true})
	}
	name := map[string]string{"string": "string", "integer": "int", "boolean": "bool", "timestamp": "Timestamp"}[s.Type]
	if s.Type == "structure" {
		name = s.Name
	}
	if mb.Required {
		return name
	}
	return "*" + name
}

func (m *model) sensitive(name string) bool {
	s := m.byName[name]
	return s.Sensitive || s.Type == "map" && (m.sensitive(s.Key) || m.sensitive(s.Of))
}
