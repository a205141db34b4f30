package api

import (
	"unicode/utf16"
	"unicode/utf8"
)

// text reads a string. The result may be part of the body: copy it before keeping it.
func (s *scanner) text() ([]byte, error) {
	s.pos++
	start, escaped := s.pos, false
	for ; s.pos < len(s.data); s.pos++ {
		switch c := s.data[s.pos]; {
		case c == '"':
			raw := s.data[start:s.pos]
			if !utf8.Valid(raw) {
				return nil, s.errorf("Invalid UTF-8")
			}
			s.pos++
			if !escaped {
				return raw, nil
			}
			return s.unescape(raw)
		case c == '\\':
			escaped = true
			s.pos++
		case c < ' ':
			return nil, s.errorf("Control character in a string")
		}
	}
	s.pos = len(s.data)
	return nil, s.errorf("Unexpected end of a string")
}

// unescape resolves the escapes of a string's raw bytes.
func (s *scanner) unescape(raw []byte) ([]byte, error) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		if raw[i] == 'u' {
			r, n := runeEscape(raw[i-1:])
			if n == 0 {
				return nil, s.errorf("Malformed \\u escape")
			}
			out = utf8.AppendRune(out, r)
			i += n - 2
			continue
		}
		c, ok := plainEscape(raw[i])
		if !ok {
			return nil, s.errorf("Unknown escape")
		}
		out = append(out, c)
	}
	return out, nil
}

func plainEscape(c byte) (byte, bool) {
	switch c {
	case '"', '\\', '/':
		return c, true
	case 'b':
		return '\b', true
	case 'f':
		return '\f', true
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	}
	return 0, false
}

// runeEscape reads the \uXXXX escape, or pair of escapes, that b begins with. It returns how many
// bytes it took, 0 for anything that is not one character.
func runeEscape(b []byte) (rune, int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if !ok {
		return 0, 0
	}
	r = utf16.DecodeRune(r, low)
	if r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
