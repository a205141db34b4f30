package api

import "fmt"

// maxDepth is how deep objects and lists may nest in a request, known members or not.
const maxDepth = 64

// syntaxError says why a body cannot be read as the JSON that was expected. It never quotes the
// body, which may hold secrets.
type syntaxError string

func (e syntaxError) Error() string { return string(e) }

// scanner reads JSON (RFC 8259) token by token from bytes in memory. It is stricter than
// encoding/json: invalid UTF-8, lone surrogates and duplicate names are errors.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

func (s *scanner) errorf(format string, args ...any) error {
	return syntaxError(fmt.Sprintf(format, args...) + fmt.Sprintf(" at byte %d of the body.", s.pos))
}

// next skips white space and returns the first byte of the next token without consuming it, 0 at
// the end (NUL begins no token, so nothing is mistaken for the end).
func (s *scanner) next() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// take consumes c if it is the next token's first byte.
func (s *scanner) take(c byte) bool {
	if s.next() != c || s.pos == len(s.data) {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) open() error {
	if s.depth++; s.depth > maxDepth {
		return s.errorf("Nesting deeper than %d levels", maxDepth)
	}
	s.pos++
	return nil
}

// more reports whether another element follows in the object or list that end closes, and
// consumes what separates it from the one before.
func (s *scanner) more(first bool, end byte) (bool, error) {
	if s.take(end) {
		s.depth--
		return false, nil
	}
	if first || s.take(',') {
		return true, nil
	}
	return false, s.errorf("Expected a comma or %q", end)
}

// key reads an object's member name and the colon after it.
func (s *scanner) key() ([]byte, error) {
	if s.next() != '"' {
		return nil, s.errorf("Expected a member name")
	}
	k, err := s.text()
	if err != nil {
		return nil, err
	}
	if !s.take(':') {
		return nil, s.errorf("Expected a colon")
	}
	return k, nil
}

// skip consumes one value of any kind and checks its syntax.
func (s *scanner) skip() error {
	switch s.next() {
	case '{':
		return s.skipObject()
	case '[':
		return s.skipList()
	case '"':
		_, err := s.text()
		return err
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		_, _, err := s.number()
		return err
	}
}

func (s *scanner) skipObject() error {
	if err := s.open(); err != nil {
		return err
	}
	var seen names
	for first := true; ; first = false {
		ok, err := s.more(first, '}')
		if err != nil || !ok {
			return err
		}
		k, err := s.key()
		if err != nil {
			return err
		}
		if !seen.add(k) {
			return s.errorf("Duplicate member name")
		}
		if err := s.skip(); err != nil {
			return err
		}
	}
}

func (s *scanner) skipList() error {
	if err := s.open(); err != nil {
		return err
	}
	for first := true; ; first = false {
		ok, err := s.more(first, ']')
		if err != nil || !ok {
			return err
		}
		if err := s.skip(); err != nil {
			return err
		}
	}
}

func (s *scanner) word(w string) error {
	if len(s.data)-s.pos < len(w) || string(s.data[s.pos:s.pos+len(w)]) != w {
		return s.errorf("Unexpected token")
	}
	s.pos += len(w)
	return nil
}

// number reads a number and reports whether it is written as an integer.
func (s *scanner) number() (token []byte, integer bool, err error) {
	start := s.pos
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if !s.digits() {
		return nil, false, s.errorf("Unexpected token")
	}
	integer = true
	if s.at('.') {
		s.pos++
		integer = false
		if !s.digits() {
			return nil, false, s.errorf("Malformed number")
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		integer = false
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if !s.digits() {
			return nil, false, s.errorf("Malformed number")
		}
	}
	return s.data[start:s.pos], integer, nil
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

// names is a set of member names, cheap while it is small.
type names struct {
	few  [][]byte
	many map[string]struct{}
}

// add reports whether name is new.
func (n *names) add(name []byte) bool {
	if n.many == nil {
		for _, f := range n.few {
			if string(f) == string(name) {
				return false
			}
		}
		if n.few = append(n.few, name); len(n.few) <= 16 {
			return true
		}
		n.many = make(map[string]struct{}, 2*len(n.few))
		for _, f := range n.few {
			n.many[string(f)] = struct{}{}
		}
		return true
	}
	if _, dup := n.many[string(name)]; dup {
		return false
	}
	n.many[string(name)] = struct{}{}
	return true
}
