package sigv4

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeFormat = "20060102T150405Z"

	// Bounds on what a client may make us look at. SDKs stay far below them.
	maxHeader        = 8 << 10
	maxSignedHeaders = 64
)

// Authorization is a parsed Authorization header. Nothing in it has been verified.
type Authorization struct {
	AccessKeyID   string
	Date          string // YYYYMMDD of the credential scope
	Region        string
	Service       string
	SignedHeaders []string // lower case, as listed by the client

	scope     string // date/region/service/aws4_request
	signature [sha256.Size]byte
}

// ParseAuthorization reads the value of an Authorization header strictly: each of Credential,
// SignedHeaders and Signature once, separated by commas. Its errors are *Error with the code
// IncompleteSignature.
func ParseAuthorization(header string) (Authorization, error) {
	if len(header) > maxHeader {
		return Authorization{}, incomplete("Authorization header is too long.")
	}
	scheme, rest, _ := strings.Cut(header, " ")
	if scheme != algorithm {
		return Authorization{}, incomplete("Authorization header requires the algorithm " + algorithm + ".")
	}
	params, err := parameters(rest)
	if err != nil {
		return Authorization{}, err
	}
	var a Authorization
	if err := a.credential(params.credential); err != nil {
		return Authorization{}, err
	}
	if err := a.headers(params.signedHeaders); err != nil {
		return Authorization{}, err
	}
	// Decoding in place of comparing text accepts exactly 64 hex digits.
	if len(params.signature) != 2*sha256.Size {
		return Authorization{}, incomplete("Signature must be 64 hexadecimal digits.")
	}
	var raw [2 * sha256.Size]byte
	copy(raw[:], params.signature)
	if _, err := hex.Decode(a.signature[:], raw[:]); err != nil {
		return Authorization{}, incomplete("Signature must be 64 hexadecimal digits.")
	}
	return a, nil
}

type headerParameters struct{ credential, signedHeaders, signature string }

func parameters(s string) (headerParameters, error) {
	var p headerParameters
	for more := true; more; {
		var part string
		part, s, more = strings.Cut(s, ",")
		name, value, ok := strings.Cut(strings.Trim(part, " \t"), "=")
		if !ok {
			return p, incomplete("Authorization header must be a list of name=value pairs separated by commas.")
		}
		var dst *string
		switch name {
		case "Credential":
			dst = &p.credential
		case "SignedHeaders":
			dst = &p.signedHeaders
		case "Signature":
			dst = &p.signature
		default:
			return p, incomplete("Authorization header has a parameter that is not known.")
		}
		if *dst != "" {
			return p, incomplete("Authorization header has '" + name + "' twice.")
		}
		if *dst = value; value == "" {
			return p, incomplete("Authorization header requires '" + name + "' parameter.")
		}
	}
	var missing []string
	for _, m := range [...]struct{ name, value string }{
		{"Credential", p.credential}, {"Signature", p.signature}, {"SignedHeaders", p.signedHeaders},
	} {
		if m.value == "" {
			missing = append(missing, "Authorization header requires '"+m.name+"' parameter.")
		}
	}
	if missing != nil {
		return p, incomplete(strings.Join(missing, " "))
	}
	return p, nil
}

// credential reads <access key id>/<date>/<region>/<service>/aws4_request.
func (a *Authorization) credential(s string) error {
	id, scope, _ := strings.Cut(s, "/")
	date, rest, _ := strings.Cut(scope, "/")
	region, rest, _ := strings.Cut(rest, "/")
	service, end, ok := strings.Cut(rest, "/")
	if !ok || strings.Contains(end, "/") || !isToken(id) || !isToken(region) || !isToken(service) || !isDate(date) {
		return incomplete("Credential must have the form <access key id>/<YYYYMMDD>/<region>/<service>/aws4_request.")
	}
	if end != terminator {
		return incomplete("Credential should be scoped with a valid terminator: '" + terminator + "'.")
	}
	a.AccessKeyID, a.scope, a.Date, a.Region, a.Service = id, scope, date, region, service
	return nil
}

// headers reads the signed headers: lower case and without doubles, so that there is one canonical
// request for them.
func (a *Authorization) headers(s string) error {
	n := strings.Count(s, ";") + 1
	if n > maxSignedHeaders {
		return incomplete("SignedHeaders lists too many headers.")
	}
	a.SignedHeaders = make([]string, 0, n)
	for more := true; more; {
		var name string
		name, s, more = strings.Cut(s, ";")
		if !isHeaderName(name) {
			return incomplete("SignedHeaders must be lower-case header names separated by semicolons.")
		}
		if a.lists(name) {
			return incomplete("SignedHeaders lists a header twice.")
		}
		a.SignedHeaders = append(a.SignedHeaders, name)
	}
	return nil
}

func (a *Authorization) lists(header string) bool { return slices.Contains(a.SignedHeaders, header) }

// isToken accepts the characters of access key ids, regions and signing names.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// isHeaderName accepts RFC 9110 tokens without upper-case letters.
func isHeaderName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' || !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 256
}

func isDate(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) == 8
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// fromRequest parses the one Authorization header of r.
func fromRequest(r *http.Request) (Authorization, error) {
	switch values := r.Header["Authorization"]; len(values) {
	case 0:
		return Authorization{}, &Error{MissingAuthenticationToken, "Missing Authentication Token"}
	case 1:
		return ParseAuthorization(values[0])
	default:
		return Authorization{}, incomplete("There is more than one Authorization header.")
	}
}

// covers reports what must be under the signature and is not: Host, every X-Amz header (one of
// them names the action), and the date.
func (a *Authorization) covers(r *http.Request, date time.Time) error {
	if !a.lists("host") {
		return &Error{InvalidSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."}
	}
	for name := range r.Header {
		if len(name) > 6 && strings.EqualFold(name[:6], "X-Amz-") && !a.lists(lower(name)) {
			return &Error{InvalidSignature, "'" + name + "' must be a 'SignedHeader' in the AWS Authorization."}
		}
	}
	if len(r.Header["X-Amz-Date"]) == 0 && !a.lists("date") {
		return &Error{InvalidSignature, "'Date' must be a 'SignedHeader' in the AWS Authorization."}
	}
	var day [8]byte
	if string(date.AppendFormat(day[:0], "20060102")) != a.Date {
		return &Error{InvalidSignature, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" +
			a.Date + "' != '" + date.Format("20060102") + "', from '" + date.Format(timeFormat) + "'."}
	}
	return nil
}

// lower is strings.ToLower without an allocation for the headers every SDK sends.
func lower(name string) string {
	switch name {
	case "X-Amz-Date":
		return "x-amz-date"
	case "X-Amz-Target":
		return "x-amz-target"
	case "X-Amz-Content-Sha256":
		return "x-amz-content-sha256"
	}
	return strings.ToLower(name)
}

// signingTime reads when r says it was signed and checks it against now.
func signingTime(r *http.Request, now time.Time) (time.Time, error) {
	t, err := statedTime(r)
	if err != nil {
		return time.Time{}, err
	}
	now = now.UTC()
	switch {
	case t.Before(now.Add(-MaxSkew)):
		return t, &Error{InvalidSignature, "Signature expired: " + t.Format(timeFormat) + " is now earlier than " +
			now.Add(-MaxSkew).Format(timeFormat) + " (" + now.Format(timeFormat) + " - 5 min.)"}
	case t.After(now.Add(MaxSkew)):
		return t, &Error{InvalidSignature, "Signature not yet current: " + t.Format(timeFormat) + " is still later than " +
			now.Add(MaxSkew).Format(timeFormat) + " (" + now.Format(timeFormat) + " + 5 min.)"}
	}
	return t, nil
}

func statedTime(r *http.Request) (time.Time, error) {
	values := r.Header["X-Amz-Date"]
	if len(values) == 0 {
		values = r.Header["Date"]
	}
	if len(values) != 1 {
		return time.Time{}, incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if t, err := time.Parse(timeFormat, values[0]); err == nil {
		return t, nil
	}
	if t, err := http.ParseTime(values[0]); err == nil {
		return t.UTC(), nil
	}
	return time.Time{}, incomplete("Date must be in ISO-8601 'basic format'.")
}
