package api

import (
	"math"
	"reflect"
	"strconv"
)

// decode reads body into v, the struct generated for the structure s, and checks it against the
// service model on the way. Unknown members are ignored, null is absent, no bytes mean {}.
//
// It returns a syntaxError for what is not the JSON it should be, which outranks everything else,
// or *findings for violated constraints, all of them. v is of use only without an error.
func decode(body []byte, s *shape, v reflect.Value) error {
	if len(body) == 0 {
		body = []byte("{}")
	}
	d := &decoder{scanner: scanner{data: body}}
	if d.next() != '{' {
		return d.errorf("Expected a JSON object")
	}
	if err := d.structure(v, s); err != nil {
		return err
	}
	if d.next(); d.pos != len(d.data) {
		return d.errorf("Unexpected data after the JSON object")
	}
	if d.found.n > 0 {
		return &d.found
	}
	return nil
}

// decoder walks a body and the service model side by side.
type decoder struct {
	scanner
	at    []step // where in the request the walk is
	found findings
}

// step is one part of a member path: a structure's member, or an element of a list.
type step struct {
	name  string
	index int // from 1; 0: name counts
}

// path returns where the walk is, as clients are shown it: tags.1.member.key.
func (d *decoder) path() string {
	var b []byte
	for i, st := range d.at {
		if i > 0 {
			b = append(b, '.')
		}
		if st.index == 0 {
			b = append(b, st.name...)
		} else {
			b = append(strconv.AppendInt(b, int64(st.index), 10), ".member"...)
		}
	}
	return string(b)
}

func (d *decoder) push(st step) { d.at = append(d.at, st) }
func (d *decoder) pop()         { d.at = d.at[:len(d.at)-1] }

// value reads one value of shape s into v.
func (d *decoder) value(v reflect.Value, s *shape) error {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	c := d.next()
	switch {
	case s.kind == kindStructure && c == '{':
		return d.structure(v, s)
	case s.kind == kindMap && c == '{':
		return d.mapping(v, s)
	case s.kind == kindList && c == '[':
		return d.list(v, s)
	case s.kind == kindString && c == '"':
		return d.string(v, s)
	case s.kind == kindInteger && (c == '-' || c >= '0' && c <= '9'):
		return d.integer(v, s)
	case s.kind == kindBoolean && (c == 't' || c == 'f'):
		v.SetBool(c == 't')
		return d.word(strconv.FormatBool(c == 't'))
	}
	if err := d.skip(); err != nil { // broken JSON outranks a wrong type
		return err
	}
	return syntaxError(foundKind(c) + " can not be converted to " + s.kind.noun() + " at '" + d.path() + "'.")
}

// foundKind names the JSON value that begins with c.
func foundKind(c byte) string {
	switch c {
	case '{':
		return "OBJECT_VALUE"
	case '[':
		return "LIST_VALUE"
	case '"':
		return "STRING_VALUE"
	case 't':
		return "TRUE_VALUE"
	case 'f':
		return "FALSE_VALUE"
	case 'n':
		return "NULL_VALUE"
	default:
		return "NUMBER_VALUE"
	}
}

// noun names the kind in messages.
func (k kind) noun() string {
	switch k {
	case kindString:
		return "a String"
	case kindInteger:
		return "an Integer"
	case kindBoolean:
		return "a Boolean"
	case kindList:
		return "a List"
	case kindMap:
		return "a Map"
	default:
		return "a Structure"
	}
}

func (d *decoder) structure(v reflect.Value, s *shape) error {
	if err := d.open(); err != nil {
		return err
	}
	var seen, present uint64
	var unknown names
	for first := true; ; first = false {
		ok, err := d.more(first, '}')
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		k, err := d.key()
		if err != nil {
			return err
		}
		i := s.member(k)
		if i < 0 && !unknown.add(k) || i >= 0 && seen&(1<<i) != 0 {
			return d.errorf("Duplicate member name")
		}
		if i < 0 {
			if err := d.skip(); err != nil {
				return err
			}
			continue
		}
		seen |= 1 << i
		there, err := d.field(v.Field(i), &s.members[i])
		if err != nil {
			return err
		}
		if there {
			present |= 1 << i
		}
	}
	d.missing(s, present)
	return nil
}

// field reads the value of a known member, and reports whether there is one: null is none.
func (d *decoder) field(v reflect.Value, m *member) (bool, error) {
	if d.next() == 'n' {
		return false, d.word("null")
	}
	d.push(step{name: m.path})
	defer d.pop()
	return true, d.value(v, m.shape)
}

// member returns the index of the member called name, or -1. Names are case sensitive.
func (s *shape) member(name []byte) int {
	for i := range s.members {
		if s.members[i].name == string(name) {
			return i
		}
	}
	return -1
}

// missing records the required members that are not there.
func (d *decoder) missing(s *shape, present uint64) {
	for i := range s.members {
		if m := &s.members[i]; m.required && present&(1<<i) == 0 {
			d.push(step{name: m.path})
			d.found.add("Value null", d.path(), "Member must not be null")
			d.pop()
		}
	}
}

func (d *decoder) list(v reflect.Value, s *shape) error {
	if err := d.open(); err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for n := 0; ; n++ {
		ok, err := d.more(n == 0, ']')
		if err != nil || !ok {
			return err
		}
		if n == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(n + 1)
		d.push(step{index: n + 1})
		if err := d.value(v.Index(n), s.of); err != nil {
			return err
		}
		d.pop()
	}
}

// mapping reads a map of strings, the only kind the API has.
func (d *decoder) mapping(v reflect.Value, s *shape) error {
	if err := d.open(); err != nil {
		return err
	}
	out := map[string]string{}
	v.Set(reflect.ValueOf(out))
	for first := true; ; first = false {
		ok, err := d.more(first, '}')
		if err != nil || !ok {
			return err
		}
		k, err := d.key()
		if err != nil {
			return err
		}
		key := string(k)
		if _, dup := out[key]; dup {
			return d.errorf("Duplicate member name")
		}
		var value string
		if c := d.next(); c != '"' {
			return d.value(reflect.ValueOf(&value).Elem(), s.of) // always an error: not a string
		}
		t, err := d.text()
		if err != nil {
			return err
		}
		value = string(t)
		out[key] = value
		d.checkEntry("Map keys", key, s.key)
		d.checkEntry("Map value", value, s.of)
	}
}

func (d *decoder) string(v reflect.Value, s *shape) error {
	t, err := d.text()
	if err != nil {
		return err
	}
	text := string(t)
	v.SetString(text)
	if broken := s.violated(text); broken != nil {
		d.report(text, s, broken)
	}
	return nil
}

// integer reads an Integer of the model, which has 32 bits.
func (d *decoder) integer(v reflect.Value, s *shape) error {
	token, whole, err := d.number()
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(token), 10, 64)
	if !whole || err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return syntaxError("NUMBER_VALUE can not be converted to an Integer at '" + d.path() + "'.")
	}
	v.SetInt(n)
	if broken := s.outOfRange(int(n)); broken != nil {
		d.report(string(token), s, broken)
	}
	return nil
}
