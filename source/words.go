package source

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode"
)

const (
	maxWordsBytes = 64 << 10 // of an error's body that is looked at
	maxWords      = 300      // of its text that is shown
)

// words returns what a registry said about a refusal, in one line without the secrets; empty when
// it said nothing that can be shown. It reads from the body, and does not close it.
func words(res *http.Response, secrets ...string) string {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxWordsBytes))
	if err != nil || len(b) == 0 {
		return ""
	}
	return presentable(errorText(b), secrets)
}

// errorText takes the text out of an error's body: the form of the OCI distribution specification
// ("error codes"), or those of token servers (docker's "details", OAuth 2's "error_description").
// Anything else, such as the page of a proxy, is not the registry's word.
func errorText(b []byte) string {
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details     string          `json:"details"`
		Description string          `json:"error_description"`
		Error       json.RawMessage `json:"error"` // a string in OAuth 2, anything elsewhere
	}
	if json.Unmarshal(b, &body) != nil {
		return ""
	}
	var parts []string
	for _, e := range body.Errors {
		switch {
		case e.Code != "" && e.Message != "":
			parts = append(parts, e.Code+": "+e.Message)
		case e.Code+e.Message != "":
			parts = append(parts, e.Code+e.Message)
		}
	}
	if len(parts) > 0 {
		return strings.Join(parts, "; ")
	}
	var plain string
	if json.Unmarshal(body.Error, &plain) != nil {
		plain = ""
	}
	for _, s := range []string{body.Details, body.Description, plain} {
		if s != "" {
			return s
		}
	}
	return ""
}

// presentable makes a stranger's text fit for a log and a message: one line, of bounded length,
// printable. A registry may repeat what it was sent, so secrets are taken out.
func presentable(s string, secrets []string) string {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == "" })
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // one may hold another
	for _, secret := range secrets {
		s = strings.ReplaceAll(s, secret, "***")
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return ' '
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "..."
	}
	return s
}
