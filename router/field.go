package router

import "encoding/binary"

// field is one line of a header section. Both slices point into the buffer it was parsed from.
type field struct {
	name, value []byte // value without the white space around it
	kind        fieldKind
}

// fieldKind says which rule of the relay a field comes under.
type fieldKind uint8

const (
	plainField        fieldKind = iota // passed on as it is
	hopField                           // for the next hop only (RFC 9110 section 7.6.1): dropped
	replacedField                      // the router sets it; what the other side says is dropped
	connectionField                    // Connection
	hostField                          // Host
	lengthField                        // Content-Length
	codingField                        // Transfer-Encoding
	upgradeField                       // Upgrade
	expectField                        // Expect
	teField                            // TE
	trailerField                       // Trailer
	forwardedForField                  // X-Forwarded-For
	requestIDField                     // X-Request-Id
	userAgentField                     // User-Agent
	refererField                       // Referer
	dateField                          // Date
)

// fieldNames gives the names that have a rule of their own by their length, in lower case.
//
//nolint:gochecknoglobals // a constant table
var fieldNames = [...][]struct {
	name string
	kind fieldKind
}{
	2:  {{"te", teField}},
	4:  {{"host", hostField}, {"date", dateField}},
	6:  {{"expect", expectField}, {"server", replacedField}},
	7:  {{"upgrade", upgradeField}, {"trailer", trailerField}, {"referer", refererField}},
	9:  {{"forwarded", replacedField}},
	10: {{"connection", connectionField}, {"user-agent", userAgentField}, {"keep-alive", hopField}},
	12: {{"x-request-id", requestIDField}},
	14: {{"content-length", lengthField}, {"http2-settings", hopField}},
	15: {{"x-forwarded-for", forwardedForField}},
	16: {{"x-forwarded-host", replacedField}, {"x-forwarded-port", replacedField}, {"proxy-connection", hopField}},
	17: {{"transfer-encoding", codingField}, {"x-forwarded-proto", replacedField}},
	18: {{"proxy-authenticate", hopField}},
	19: {{"proxy-authorization", hopField}},
	24: {{"x-envoy-external-address", replacedField}},
	29: {{"x-envoy-upstream-service-time", replacedField}},
	30: {{"x-envoy-expected-rq-timeout-ms", replacedField}},
}

func kindOf(name []byte) fieldKind {
	if len(name) >= len(fieldNames) {
		return plainField
	}
	for i := range fieldNames[len(name)] {
		if known := &fieldNames[len(name)][i]; foldEqual(name, known.name) {
			return known.kind
		}
	}
	return plainField
}

// foldEqual compares without regard to the case of ASCII letters; lower is in lower case.
func foldEqual(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// foldEqualBytes is foldEqual of two names neither of which is known to be lower case.
func foldEqualBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Classes of bytes.
const (
	tokenByte  = 1 << iota // RFC 9110 section 5.6.2
	targetByte             // of a request target: no control, no space; bytes above ASCII pass
	hostByte               // of a Host field: RFC 3986 section 3.2.2, with port
	hexByte
)

//nolint:gochecknoglobals // a constant table
var byteClass = func() (class [256]uint8) {
	mark := func(bit uint8, bytes string) {
		for i := range len(bytes) {
			class[bytes[i]] |= bit
		}
	}
	const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	mark(tokenByte, alnum+"!#$%&'*+-.^_`|~")
	mark(hostByte, alnum+"!$%&()*+,-.:;=[]'_~")
	mark(hexByte, "0123456789abcdefABCDEF")
	for c := range class {
		if c > ' ' && c != 0x7f && c != '#' {
			class[c] |= targetByte
		}
	}
	return class
}()

func allOf(b []byte, class uint8) bool {
	for _, c := range b {
		if byteClass[c]&class == 0 {
			return false
		}
	}
	return true
}

func validToken(b []byte) bool { return len(b) > 0 && allOf(b, tokenByte) }

// validValue reports whether b holds no control byte but tabs (RFC 9110 section 5.5). Eight bytes
// at a time: values are most of what is parsed.
func validValue(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		w := binary.LittleEndian.Uint64(b)
		del := w ^ ones*0x7f
		// A byte below 0x20, or one that is 0x7f, sets its high bit; borrows only make for a second look.
		if ((w-ones*0x20)&^w|(del-ones)&^del)&highs != 0 && !validBytes(b[:8]) {
			return false
		}
		b = b[8:]
	}
	return validBytes(b)
}

func validBytes(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// parseLength returns a Content-Length: digits and nothing else.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 { // of which none overflows
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// eachOption calls fn for each member of a comma-separated list (RFC 9110 section 5.6.1) until fn
// returns false, and reports whether it never did.
func eachOption(list []byte, fn func(option []byte) bool) bool {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] != ',' {
			end++
		}
		if option := trimSpace(list[:end]); len(option) > 0 && !fn(option) {
			return false
		}
		if end == len(list) {
			break
		}
		list = list[end+1:]
	}
	return true
}
