package router

// Limits of a host name, RFC 1035 section 2.3.4.
const (
	maxHostLen  = 253
	maxLabelLen = 63
)

// hostName is a host in the form routes are looked up by: lower case, no port, no trailing dot. It
// is a value of fixed size so that a look-up allocates nothing.
type hostName struct {
	buf [maxHostLen + 1]byte // with a dot at the end
	n   int                  // bytes of buf in use; 0: not a host name
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
	label, n := 0, len(s) // where the label at hand starts; where the name ends
	for i := range len(s) {
		c := hostLower[s[i]]
		if c == 0 {
			if s[i] != ':' || !validPort(s[i+1:]) {
				return false
			}
			n = i
			break
		}
		if i == len(h.buf) {
			return false
		}
		h.buf[i] = c
		if c == '.' {
			if !validLabel(h.buf[label:i]) {
				return false
			}
			label = i + 1
		}
	}
	if label == n && n > 1 {
		n-- // a dot at the end
	} else if !validLabel(h.buf[label:min(n, len(h.buf))]) {
		return false
	}
	if n > maxHostLen {
		return false
	}
	h.n = n
	return true
}

// hostLower gives the lower case of a byte that may be in a name that is routed, and 0 for others.
//
//nolint:gochecknoglobals // a constant table
var hostLower = func() (table [256]byte) {
	for _, c := range "abcdefghijklmnopqrstuvwxyz0123456789-_." {
		table[c] = byte(c)
	}
	for c := byte('A'); c <= 'Z'; c++ {
		table[c] = c + 'a' - 'A'
	}
	return table
}()

func validLabel(l []byte) bool {
	return len(l) > 0 && len(l) <= maxLabelLen && l[0] != '-' && l[len(l)-1] != '-'
}

// withoutPort returns s without a port at its end, and all of s where there is no valid one.
func withoutPort[T text](s T) T {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == ':' && validPort(s[i+1:]) {
			return s[:i]
		}
		if s[i] < '0' || s[i] > '9' {
			break
		}
	}
	return s
}

// validPort reports whether s is a port. An empty one is (RFC 3986 section 3.2.3).
func validPort[T text](s T) bool {
	port := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		if port = 10*port + int(s[i]-'0'); port > 65535 {
			return false
		}
	}
	return true
}
