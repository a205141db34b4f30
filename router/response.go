package router

import "net/http"

// response is the header section of an instance's response.
type response struct {
	head

	status int
	reason []byte
}

// parse sets r to the response whose header section b is and reports whether it can be trusted.
func (r *response) parse(b []byte) bool {
	r.reset()
	line, rest, ok := nextLine(b)
	const version = len("HTTP/1.x ")
	if !ok || len(line) < version+3 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' {
		return false
	}
	r.minor = line[7] - '0'
	r.status = 0
	for _, c := range line[version : version+3] {
		if c < '0' || c > '9' {
			return false
		}
		r.status = 10*r.status + int(c-'0')
	}
	r.reason = line[version+3:]
	if len(r.reason) > 0 {
		if r.reason[0] != ' ' {
			return false
		}
		r.reason = r.reason[1:]
	}
	return r.status >= 100 && r.status <= 599 && validValue(r.reason) && r.parseFields(rest, maxAnswer) && r.framing()
}

// bodyless reports whether the response to the method has no body whatever its fields say (RFC 9112
// section 6.3).
func (r *response) bodyless(method []byte) bool {
	return r.status < 200 || r.status == http.StatusNoContent || r.status == http.StatusNotModified ||
		string(method) == http.MethodHead
}
