package router

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
func (h *hostName) parse(s string) bool { return parseHost(h, s) }

// text is a name wherever it comes from: converting one kind to the other would allocate.
type text interface{ string | []byte }

func parseHost[T text](h *hostName, s T) bool {
	h.n = 0
	end, ok := hostEnd(s)
	if !ok {
		return false
	}
	s = s[:end]
	if len(s) > 0 && s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	if len(s) == 0 || len(s) > maxHostLen {
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

func validLabel[T text](l T) bool {
	return len(l) > 0 && len(l) <= maxLabelLen && l[0] != '-' && l[len(l)-1] != '-'
}

// hostEnd returns where the name ends and a port, if any, begins, and whether that is legal. An
// empty port is (RFC 3986 section 3.2.3).
func hostEnd[T text](s T) (int, bool) {
	for i := range len(s) {
		if s[i] != ':' {
			continue
		}
		port := 0
		for j := i + 1; j < len(s); j++ {
			if s[j] < '0' || s[j] > '9' {
				return 0, false
			}
			if port = 10*port + int(s[j]-'0'); port > 65535 {
				return 0, false
			}
		}
		return i, true
	}
	return len(s), true
}
