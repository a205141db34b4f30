package sigv4_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apron/sigv4"
)

const scope = "20260314/eu-west-1/apprunner/aws4_request"

// authorization signs a canonical request, written anew after the reference.
func authorization(signedHeaders, canonical string) string {
	mac := func(key []byte, s string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(s))
		return h.Sum(nil)
	}
	sum := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	sig := mac(key, "AWS4-HMAC-SHA256\n20260314T150926Z\n"+scope+"\n"+hex.EncodeToString(sum[:]))
	return "AWS4-HMAC-SHA256 Credential=" + keyID + "/" + scope + ", SignedHeaders=" + signedHeaders + ", Signature=" + hex.EncodeToString(sig)
}

func TestParseAuthorization(t *testing.T) {
	sig := strings.Repeat("0a", 32)
	for _, header := range []string{
		"AWS4-HMAC-SHA256 Credential=" + keyID + "/" + scope + ", SignedHeaders=host;x-amz-date, Signature=" + sig,
		"AWS4-HMAC-SHA256 Credential=" + keyID + "/" + scope + ",SignedHeaders=host;x-amz-date,Signature=" + sig,
		"AWS4-HMAC-SHA256  Signature=" + sig + " ,\tCredential=" + keyID + "/" + scope + ", SignedHeaders=host;x-amz-date",
	} {
		got, err := sigv4.ParseAuthorization(header)
		if err != nil {
			t.Errorf("%s: %v", header, err)
			continue
		}
		want := sigv4.Authorization{
			AccessKeyID: keyID, Date: "20260314", Region: "eu-west-1", Service: "apprunner", SignedHeaders: []string{"host", "x-amz-date"},
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(sigv4.Authorization{})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestParseAuthorizationRefuses(t *testing.T) {
	const cred = "Credential=" + keyID + "/" + scope
	sig := "Signature=" + strings.Repeat("0a", 32)
	tests := map[string]string{
		"empty":             "",
		"other scheme":      "Basic dTpw",
		"other algorithm":   "AWS4-ECDSA-P256-SHA256 " + cred + ", SignedHeaders=host, " + sig,
		"nothing after it":  "AWS4-HMAC-SHA256",
		"no credential":     "AWS4-HMAC-SHA256 SignedHeaders=host, " + sig,
		"no signature":      "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host",
		"no headers":        "AWS4-HMAC-SHA256 " + cred + ", " + sig,
		"empty headers":     "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=, " + sig,
		"twice":             "AWS4-HMAC-SHA256 " + cred + ", " + cred + ", SignedHeaders=host, " + sig,
		"unknown parameter": "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host, " + sig + ", X=1",
		"no pair":           "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host, " + sig + ",",
		"short scope":       "AWS4-HMAC-SHA256 Credential=" + keyID + "/20260314/eu-west-1/aws4_request, SignedHeaders=host, " + sig,
		"long scope":        "AWS4-HMAC-SHA256 " + cred + "/x, SignedHeaders=host, " + sig,
		"terminator":        "AWS4-HMAC-SHA256 " + strings.Replace(cred, "aws4_request", "aws5", 1) + ", SignedHeaders=host, " + sig,
		"scope date":        "AWS4-HMAC-SHA256 " + strings.Replace(cred, "20260314", "2026-3-4", 1) + ", SignedHeaders=host, " + sig,
		"empty region":      "AWS4-HMAC-SHA256 " + strings.Replace(cred, "eu-west-1", "", 1) + ", SignedHeaders=host, " + sig,
		"upper-case header": "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=Host, " + sig,
		"empty header":      "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host;, " + sig,
		"header twice":      "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host;host, " + sig,
		"too many headers":  "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host" + strings.Repeat(";a", 64) + ", " + sig,
		"short signature":   "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host, Signature=0a",
		"no hex":            "AWS4-HMAC-SHA256 " + cred + ", SignedHeaders=host, Signature=" + strings.Repeat("0g", 32),
		"too long":          "AWS4-HMAC-SHA256 " + strings.Repeat("x", 9000),
	}
	for name, header := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sigv4.ParseAuthorization(header)
			var e *sigv4.Error
			if !errors.As(err, &e) || e.Code != sigv4.IncompleteSignature {
				t.Errorf("got %v, want an incomplete signature", err)
			}
		})
	}
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add(authorization("host;x-amz-date", ""))
	f.Add("AWS4-HMAC-SHA256 Credential=a/20260314/r/s/aws4_request,SignedHeaders=host,Signature=00")
	f.Add("AWS4-HMAC-SHA256 ,=,Credential==")
	f.Fuzz(func(t *testing.T, header string) {
		a, err := sigv4.ParseAuthorization(header)
		if err != nil {
			var e *sigv4.Error
			if !errors.As(err, &e) || e.Msg == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if a.AccessKeyID == "" || a.Region == "" || a.Service == "" || len(a.Date) != 8 || len(a.SignedHeaders) == 0 {
			t.Errorf("accepted %q as %+v", header, a)
		}
	})
}

// FuzzCanonicalRequest checks what must hold for every request line: the canonical form never
// breaks its line structure, and normalising a path that is normal changes nothing but encoding.
func FuzzCanonicalRequest(f *testing.F) {
	for _, target := range []string{"/", "/a/../b//c/./?x=1&x=0&=", "*", "http://example.com", "/%zz?%%%&&==", "/\u1234?\u1234=+", "..?..", "/a?b?c"} {
		f.Add(target, "  a  b ")
	}
	f.Fuzz(func(t *testing.T, target, value string) {
		if strings.ContainsAny(target+value, "\r\n") {
			t.Skip("net/http delivers no such request")
		}
		r := &http.Request{
			Method: http.MethodPost, RequestURI: target, URL: &url.URL{Path: target}, Host: "example.com", Header: http.Header{"A": {value}},
		}
		got := sigv4.CanonicalRequest(r, []string{"a", "host"}, sha256.Sum256(nil))
		lines := strings.Split(got, "\n")
		if len(lines) != 8 {
			t.Fatalf("%q has %d lines", got, len(lines))
		}
		path := lines[1]
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
			t.Errorf("path %q is not normal", path)
		}
		if strings.Contains(lines[3], "  ") || strings.HasSuffix(lines[3], " ") {
			t.Errorf("header %q is not folded", lines[3])
		}
	})
}
