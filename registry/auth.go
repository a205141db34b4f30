package registry

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// tokenUser is the user name that goes with an ECR authorization token; what ECR's
// GetAuthorizationToken returns decodes to AWS:<token>.
const tokenUser = "AWS"

// authenticate returns the account whose access key the request carries, or answers the request.
func (r *Registry) authenticate(w http.ResponseWriter, req *http.Request) (account string, ok bool) {
	user, password, ok := credentials(req)
	if !ok {
		challenge(w)
		return "", false
	}
	account, ok, err := r.cfg.Authenticate(req.Context(), user, password)
	switch {
	case err != nil:
		r.cfg.Log.ErrorContext(req.Context(), "authenticate registry client", "err", err)
		writeError(w, http.StatusServiceUnavailable, "UNAVAILABLE", "credentials cannot be checked at the moment")
		return "", false
	case !ok:
		challenge(w)
		return "", false
	}
	return account, true
}

// credentials returns the access key id and secret of a request: as user name and password, or as
// the token base64("<id>:<secret>") for user AWS.
func credentials(req *http.Request) (user, password string, ok bool) {
	user, password, ok = req.BasicAuth()
	if !ok || user != tokenUser {
		return user, password, ok
	}
	token, err := base64.StdEncoding.DecodeString(password)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(token), ":")
}

// challenge asks for credentials. Clients rely on both headers (distribution API, "authentication").
func challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="apron"`)
	writeError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
}

// writeError answers in the error form of the OCI distribution specification, "error codes".
func writeError(w http.ResponseWriter, status int, code, message string) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{code, message}}})
	if err != nil {
		panic(err) // strings always encode
	}
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody left to tell
}
