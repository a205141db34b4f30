package router

import (
	"fmt"
	"net/http"
)

// refusedError is a request that the router does not pass on, with the status that says so.
type refusedError int

func (e refusedError) Error() string { return fmt.Sprintf("not a request to pass on: %d", int(e)) }

// checkTranslated holds a request that came in HTTP/2, whose fields net/http has checked, to what the
// relay demands of one in HTTP/1: it is about to become one.
func checkTranslated(r *http.Request) error {
	target := []byte(r.RequestURI)
	switch {
	case !validToken([]byte(r.Method)), len(target) == 0, !allOf(target, targetByte), !allOf([]byte(r.Host), hostByte):
		return refusedError(http.StatusBadRequest)
	case target[0] == '*' && (len(target) > 1 || r.Method != http.MethodOptions):
		return refusedError(http.StatusBadRequest)
	case target[0] != '*' && (target[0] != '/' || !validPath(target)):
		return refusedError(http.StatusBadRequest)
	}
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	if fields > maxFields {
		return refusedError(http.StatusRequestHeaderFieldsTooLarge)
	}
	for _, host := range r.Header["Host"] {
		if !foldEqualBytes([]byte(host), []byte(r.Host)) {
			return refusedError(http.StatusBadRequest) // RFC 9113 section 8.3.1
		}
	}
	for name := range r.Trailer {
		if !validToken([]byte(name)) {
			return refusedError(http.StatusBadRequest) // or the transport fails, and the instance is blamed
		}
	}
	if expect := r.Header["Expect"]; len(expect) > 0 && !foldEqual([]byte(expect[0]), "100-continue") {
		return refusedError(http.StatusExpectationFailed)
	}
	return checkDeclared(r)
}

// checkDeclared looks at the length a request declares. A body that turns out to have another one ends
// its stream; that there is none at all, net/http does not compare (RFC 9113 section 8.1.1).
func checkDeclared(r *http.Request) error {
	declared := r.Header["Content-Length"]
	if len(declared) == 0 {
		return nil
	}
	n, ok := parseLength([]byte(declared[0]))
	if !ok || len(declared) > 1 || n != r.ContentLength {
		return refusedError(http.StatusBadRequest)
	}
	return nil
}
