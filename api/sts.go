package api

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"apron"
	"apron/sigv4"
)

const (
	stsName    = "sts" // signing name
	xmlType    = "text/xml"
	stsVersion = "2011-06-15"
)

// sts is as much of the Security Token Service as tells clients who they are. It speaks the query
// protocol: a form names the action and holds its input, answers are XML.
type sts struct{}

// queryError is an error that only the query protocol has.
type queryError struct{ code, msg string }

func (e *queryError) Error() string { return e.code + ": " + e.msg }

func (sts) head(r *http.Request) (string, error) {
	if r.Method != http.MethodPost {
		return "", errUnknownOperation
	}
	return "", nil
}

func (sts) serve(_ context.Context, c *call) ([]byte, error) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return nil, &queryError{"MalformedQueryString", "The query string contains a syntax error."}
	}
	action, version := form.Get("Action"), form.Get("Version")
	switch {
	case action == "":
		return nil, &queryError{"MissingAction", "The request is missing an action or a required parameter."}
	case action != "GetCallerIdentity", version != "" && version != stsVersion:
		return nil, &queryError{"InvalidAction", "Could not find operation " + clip(action) + " for version " + clip(version) + "."}
	}
	c.action = action
	return xml.Marshal(callerIdentity(c))
}

// getCallerIdentityResponse is the answer of GetCallerIdentity (STS API reference).
type getCallerIdentityResponse struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Arn       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func callerIdentity(c *call) getCallerIdentityResponse {
	out := getCallerIdentityResponse{Arn: c.key.Principal, Account: c.key.Account, RequestID: c.id}
	if out.Arn == "" {
		out.Arn = rootOf(c.scope)
	}
	out.UserID = userID(out.Arn, c.key.Account)
	return out
}

// rootOf returns the principal of keys that have no user: the account itself.
func rootOf(s apron.Scope) string {
	return "arn:" + s.Partition() + ":iam::" + s.Account + ":root"
}

// userID returns what IAM would call the unique id of a principal: of an account's root the
// account, of a user AIDA and 17 characters, here always the same for the same ARN.
func userID(arn, account string) string {
	if strings.HasSuffix(arn, ":root") {
		return account
	}
	sum := sha256.Sum256([]byte(arn))
	return "AIDA" + base32.StdEncoding.EncodeToString(sum[:])[:17]
}

// refuse writes an error as the query protocol has it. The names of the front door's errors differ
// from those of newer protocols (STS API reference, "Common Errors").
func (sts) refuse(c *call, err error) (answer, []byte) {
	a := explainQuery(err)
	fault := "Sender"
	if a.status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	body, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Type      string   `xml:"Error>Type"`
		Code      string   `xml:"Error>Code"`
		Message   string   `xml:"Error>Message"`
		RequestID string   `xml:"RequestId"`
	}{Type: fault, Code: a.name, Message: a.msg, RequestID: c.id})
	if err != nil { // five strings: cannot happen
		body = nil
	}
	return a, body
}

func explainQuery(err error) answer {
	var (
		query *queryError
		sig   *sigv4.Error
	)
	switch {
	case errors.As(err, &query):
		return answer{query.code, http.StatusBadRequest, query.msg}
	case errors.As(err, &sig):
		return answer{querySignatureError(sig.Code), http.StatusForbidden, sig.Msg}
	case errors.Is(err, errUnknownOperation):
		return answer{"InvalidAction", http.StatusBadRequest, "This endpoint takes POST requests with a form that names the action."}
	}
	if a, ok := explainFrontDoor(err); ok {
		a.name = strings.TrimSuffix(a.name, "Exception")
		return a
	}
	return answer{"InternalFailure", http.StatusInternalServerError, internal().msg}
}

func querySignatureError(c sigv4.Code) string {
	switch c {
	case sigv4.MissingAuthenticationToken:
		return "MissingAuthenticationToken"
	case sigv4.IncompleteSignature:
		return "IncompleteSignature"
	case sigv4.UnrecognizedClient:
		return "InvalidClientTokenId"
	default:
		return "SignatureDoesNotMatch"
	}
}
