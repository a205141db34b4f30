package router

import "strconv"

// Limits of a host name, RFC 1035 section 2.3.4.
const (
	maxHostLen  = 253
	maxLabelLen = 63
)

// hostName is a host in the form routes are looked up by: lower case, no port, no trailing dot. It
// is a value of fixed size so that a look-up allocates nothing.
type hostName struct {
	buf [maxHostLen]byte
	n   int // bytes of buf in use; 0: not a host name
}

// bytes returns the name; the caller must not keep it longer than h.
func (h *hostName) bytes() []byte { return h.buf[:h.n] }

// parse sets h to the name in a Host header or :authority (RFC 9110 section 7.2: uri-host with an
// optional port) and reports whether there is one. It is strict: only names of letters, digits,
// hyphens and underscores can be routed, so nothing else passes; IP literals in brackets do not.
func (h *hostName) parse(s string) bool {
	h.n = 0
	s, ok := cutPort(s)
	if !ok {
		return false
	}
	if len(s) > 0 && s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	if s == "" || len(s) > maxHostLen {
		return false
	}
	label := 0 // where the label at hand starts
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		case c == '.':
			if !validLabel(s[label:i]) {
				return false
			}
			label = i + 1
		default:
			return false
		}
		h.buf[i] = c
	}
	if !validLabel(s[label:]) {
		return false
	}
	h.n = len(s)
	return true
}

func validLabel(l string) bool {
	return l != "" && len(l) <= maxLabelLen && l[0] != '-' && l[len(l)-1] != '-'
}

// cutPort returns s without a port and reports whether the port, if any, is legal. An empty port is
// (RFC 3986 section 3.2.3).
func cutPort(s string) (string, bool) {
	for i := range len(s) {
		if s[i] != ':' {
			continue
		}
		port := s[i+1:]
		if port == "" {
			return s[:i], true
		}
		for j := range len(port) {
			if port[j] < '0' || port[j] > '9' {
				return "", false
			}
		}
		_, err := strconv.ParseUint(port, 10, 16)
		return s[:i], err == nil
	}
	return s, true
}
