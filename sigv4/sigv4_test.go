package sigv4_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"apron/sigv4"
)

const (
	keyID  = "AKIAAPRONTESTAAAAAAA"
	secret = "example/secret/of/forty/characters+00000"
)

var signedAt = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func lookup(_ context.Context, id string) (string, bool, error) { return secret, id == keyID, nil }

// request parses raw HTTP as a server does, so that RequestURI holds what was sent.
func request(t testing.TB, raw string) (*http.Request, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(raw, "\n\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return r, []byte(body)
}

// sdkSigned returns a request as the AWS SDK signs it and net/http delivers it.
func sdkSigned(t testing.TB, method, url string, body string, edit func(*http.Request)) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(r)
	}
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
	err = v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(sum[:]), "apprunner", "eu-west-1", signedAt)
	if err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	got, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestVerifySDK has the AWS SDK as the judge of what a signature is.
func TestVerifySDK(t *testing.T) {
	tests := map[string]struct {
		method, url, body string
		edit              func(*http.Request)
	}{
		"awsJson call": {http.MethodPost, "http://127.0.0.1:4080/", `{"ServiceArn":"x"}`, func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "AppRunner.DescribeService")
			r.Header.Set("Content-Type", "application/x-amz-json-1.0")
		}},
		"empty body":        {http.MethodPost, "http://example.com/", "", nil},
		"get":               {http.MethodGet, "http://example.com", "", nil},
		"host with port":    {http.MethodPost, "http://example.com:8080/", "{}", nil},
		"encoded path":      {http.MethodPost, "http://example.com/a%20b/c%2Fd/~x", "", nil},
		"utf-8 path":        {http.MethodPost, "http://example.com/h%C3%A9llo", "", nil},
		"reserved in path":  {http.MethodPost, "http://example.com/a:b@c/d;e=f,g", "", nil},
		"query order":       {http.MethodGet, "http://example.com/?b=2&a=1&b=1&a=0", "", nil},
		"query prefix":      {http.MethodGet, "http://example.com/?ab=1&a=2&a-b=3", "", nil},
		"query without =":   {http.MethodGet, "http://example.com/?flag", "", nil},
		"query utf-8":       {http.MethodGet, "http://example.com/?%E1%88%B4=b%C3%A4r", "", nil},
		"query space, plus": {http.MethodGet, "http://example.com/?a=b+c&d=e%2Bf&g=h%20i", "", nil},
		"query unreserved":  {http.MethodGet, "http://example.com/?-._~09AZaz=-._~09AZaz", "", nil},
		"folded white space": {http.MethodPost, "http://example.com/", "x", func(r *http.Request) {
			r.Header["X-Amz-Meta"] = []string{"  a   b  c "}
		}},
		"repeated header": {http.MethodPost, "http://example.com/", "x", func(r *http.Request) {
			r.Header["X-Amz-Meta"] = []string{"z", "a", "z"}
		}},
		"content hash": {http.MethodPost, "http://example.com/", "x", func(r *http.Request) {
			sum := sha256.Sum256([]byte("x"))
			r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
		}},
	}
	want := sigv4.Identity{AccessKeyID: keyID, Region: "eu-west-1", Service: "apprunner", Date: signedAt}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := sdkSigned(t, tt.method, tt.url, tt.body, tt.edit)
			var v sigv4.Verifier
			for range 2 { // without and with the signing key in the cache
				got, err := v.Verify(t.Context(), r, []byte(tt.body), signedAt.Add(time.Minute), lookup)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestCanonicalRequest covers the classes of the published test vectors with data of our own.
func TestCanonicalRequest(t *testing.T) {
	tests := map[string]struct{ raw, path, query, headers string }{
		"vanilla":        {"GET / HTTP/1.1\nHost: example.com", "/", "", "host:example.com\n"},
		"no path":        {"GET http://example.com HTTP/1.1\nHost: example.com", "/", "", "host:example.com\n"},
		"absolute form":  {"GET http://example.com/a?b=c HTTP/1.1\nHost: example.com", "/a", "b=c", "host:example.com\n"},
		"address in it":  {"GET /a/http://b/c HTTP/1.1\nHost: example.com", "/a/http%3A/b/c", "", "host:example.com\n"},
		"asterisk":       {"OPTIONS * HTTP/1.1\nHost: example.com", "/%2A", "", "host:example.com\n"},
		"dot segments":   {"GET /a/./b/../c/. HTTP/1.1\nHost: example.com", "/a/c/", "", "host:example.com\n"},
		"above the root": {"GET /../../a HTTP/1.1\nHost: example.com", "/a", "", "host:example.com\n"},
		"back to root":   {"GET /a/.. HTTP/1.1\nHost: example.com", "/", "", "host:example.com\n"},
		"slashes":        {"GET //a///b// HTTP/1.1\nHost: example.com", "/a/b/", "", "host:example.com\n"},
		"raw utf-8":      {"GET /\u1234 HTTP/1.1\nHost: example.com", "/%E1%88%B4", "", "host:example.com\n"},
		"encoded twice":  {"GET /a%20b HTTP/1.1\nHost: example.com", "/a%2520b", "", "host:example.com\n"},
		"query order":    {"GET /?b=&a=2&a=1&&c HTTP/1.1\nHost: example.com", "/", "a=1&a=2&b=&c=", "host:example.com\n"},
		"query encoding": {"GET /?k=%7e%2f%zz/=\u1234+* HTTP/1.1\nHost: example.com", "/", "k=~%2F%25zz%2F%3D%E1%88%B4%20%2A", "host:example.com\n"},
		"query case":     {"GET /?b=1&B=2 HTTP/1.1\nHost: example.com", "/", "B=2&b=1", "host:example.com\n"},
		"header order": {
			"GET / HTTP/1.1\nZ-Last: 1\nHost: example.com\nA-First: 2", "/", "",
			"a-first:2\nhost:example.com\nz-last:1\n",
		},
		"duplicate headers": {
			"GET / HTTP/1.1\nHost: example.com\nA-First: z\na-first: b,  c\nA-FIRST: a", "/", "",
			"a-first:z,b, c,a\nhost:example.com\n",
		},
		"white space":   {"GET / HTTP/1.1\nHost: example.com\nA-First:  \t x \t \"y   z\"  ", "/", "", "a-first:x \"y z\"\nhost:example.com\n"},
		"empty value":   {"GET / HTTP/1.1\nHost: example.com\nA-First:", "/", "", "a-first:\nhost:example.com\n"},
		"host override": {"GET http://example.org/ HTTP/1.1\nHost: example.com", "/", "", "host:example.org\n"},
	}
	hash := sha256.Sum256(nil)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, _ := request(t, tt.raw)
			var names []string
			for line := range strings.Lines(tt.headers) {
				n, _, _ := strings.Cut(line, ":")
				names = append(names, n)
			}
			want := r.Method + "\n" + tt.path + "\n" + tt.query + "\n" + tt.headers + "\n" + strings.Join(names, ";") + "\n" +
				"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
			if diff := cmp.Diff(want, sigv4.CanonicalRequest(r, names, hash)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	valid := func(t *testing.T) *http.Request {
		return sdkSigned(t, http.MethodPost, "http://example.com/", "{}", func(r *http.Request) {
			r.Header.Set("X-Amz-Target", "AppRunner.ListServices")
		})
	}
	auth := func(from, to string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
		}
	}
	const mismatch = "The request signature we calculated does not match"
	tests := map[string]struct {
		edit func(*http.Request)
		body string
		now  time.Duration
		code sigv4.Code
		msg  string
	}{
		"no header":       {edit: func(r *http.Request) { r.Header.Del("Authorization") }, code: sigv4.MissingAuthenticationToken, msg: "Missing Authentication Token"},
		"two headers":     {edit: func(r *http.Request) { r.Header.Add("Authorization", "x") }, code: sigv4.IncompleteSignature},
		"no date":         {edit: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, code: sigv4.IncompleteSignature, msg: "'X-Amz-Date' or a 'Date'"},
		"bad date":        {edit: func(r *http.Request) { r.Header.Set("X-Amz-Date", "yesterday") }, code: sigv4.IncompleteSignature},
		"unknown key":     {edit: auth(keyID, "AKIAAPRONTESTBBBBBBB"), code: sigv4.UnrecognizedClient, msg: "The security token included in the request is invalid."},
		"session token":   {edit: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") }, code: sigv4.InvalidSignature, msg: "'X-Amz-Security-Token' must be"},
		"other body":      {body: `{"a":1}`, code: sigv4.InvalidSignature, msg: mismatch},
		"other target":    {edit: func(r *http.Request) { r.Header.Set("X-Amz-Target", "AppRunner.DeleteService") }, code: sigv4.InvalidSignature, msg: mismatch},
		"other method":    {edit: func(r *http.Request) { r.Method = http.MethodPut }, code: sigv4.InvalidSignature, msg: mismatch},
		"other host":      {edit: func(r *http.Request) { r.Host = "example.org" }, code: sigv4.InvalidSignature, msg: mismatch},
		"other region":    {edit: auth("eu-west-1", "eu-west-2"), code: sigv4.InvalidSignature, msg: mismatch},
		"other day":       {edit: auth("/20260314/", "/20260315/"), code: sigv4.InvalidSignature, msg: "Date in Credential scope"},
		"unsigned x-amz":  {edit: func(r *http.Request) { r.Header.Set("X-Amz-Extra", "1") }, code: sigv4.InvalidSignature, msg: "'X-Amz-Extra' must be"},
		"unsigned host":   {edit: auth("host;", ""), code: sigv4.InvalidSignature, msg: "'Host' or ':authority' must be"},
		"too old":         {now: 5*time.Minute + time.Second, code: sigv4.InvalidSignature, msg: "Signature expired: 20260314T150926Z is now earlier than 20260314T150927Z (20260314T151427Z - 5 min.)"},
		"not yet":         {now: -5*time.Minute - time.Second, code: sigv4.InvalidSignature, msg: "Signature not yet current: 20260314T150926Z is still later than 20260314T150925Z (20260314T150425Z + 5 min.)"},
		"just old enough": {now: 5 * time.Minute},
		"just new enough": {now: -5 * time.Minute},
		"date header only": {edit: func(r *http.Request) {
			r.Header.Del("X-Amz-Date")
			r.Header.Set("Date", signedAt.Format(http.TimeFormat))
		}, code: sigv4.InvalidSignature, msg: "'Date' must be"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := valid(t)
			if tt.edit != nil {
				tt.edit(r)
			}
			body := tt.body
			if body == "" {
				body = "{}"
			}
			var v sigv4.Verifier
			_, err := v.Verify(t.Context(), r, []byte(body), signedAt.Add(tt.now), lookup)
			if tt.code == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var e *sigv4.Error
			if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(e.Msg, tt.msg) {
				t.Errorf("got %v, want %v with %q", err, tt.code, tt.msg)
			}
		})
	}
}

// TestVerifySignedToken has a session token under the signature, as real temporary credentials do.
func TestVerifySignedToken(t *testing.T) {
	r := sdkSigned(t, http.MethodPost, "http://example.com/", "{}", func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") })
	var v sigv4.Verifier
	_, err := v.Verify(t.Context(), r, []byte("{}"), signedAt, lookup)
	var e *sigv4.Error
	if !errors.As(err, &e) || e.Code != sigv4.UnrecognizedClient {
		t.Errorf("got %v, want unrecognized client", err)
	}
}

// TestVerifyDateHeader signs by the Date header, for which the reference allows the HTTP form.
func TestVerifyDateHeader(t *testing.T) {
	r, body := request(t, "GET / HTTP/1.1\nHost: example.com\nDate: Sat, 14 Mar 2026 15:09:26 GMT")
	sum := sha256.Sum256(body)
	canonical := sigv4.CanonicalRequest(r, []string{"date", "host"}, sum)
	r.Header.Set("Authorization", authorization("date;host", canonical))
	var v sigv4.Verifier
	if _, err := v.Verify(t.Context(), r, body, signedAt, lookup); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyLookupError(t *testing.T) {
	broken := errors.New("the store is away")
	r := sdkSigned(t, http.MethodPost, "http://example.com/", "{}", nil)
	var v sigv4.Verifier
	_, err := v.Verify(t.Context(), r, []byte("{}"), signedAt, func(context.Context, string) (string, bool, error) {
		return "", false, broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want it to wrap the look-up's error", err)
	}
}

// TestVerifyManyScopes goes past the size of the key cache and comes back.
func TestVerifyManyScopes(t *testing.T) {
	var v sigv4.Verifier
	creds := aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}
	empty := sha256.Sum256(nil)
	for i := range 2500 {
		r, _ := http.NewRequest(http.MethodPost, "http://example.com/", http.NoBody)
		region := "region-" + strings.Repeat("x", i%1250/100) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26))
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, r, hex.EncodeToString(empty[:]), "apprunner", region, signedAt); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(t.Context(), r, nil, signedAt, lookup); err != nil {
			t.Fatalf("region %s: %v", region, err)
		}
	}
}
