package source

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

func TestParseChallenges(t *testing.T) {
	type list = []challenge
	for header, want := range map[string]list{
		"":                     nil,
		`Basic realm="a b"`:    {{"basic", map[string]string{"realm": "a b"}}},
		`basic`:                {{"basic", nil}},
		`Bearer realm=x,scope`: {{"bearer", map[string]string{"realm": "x"}}, {"scope", nil}},
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"`: {{"bearer", map[string]string{
			"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:a/b:pull,push",
		}}},
		`Bearer  realm = "a\"b" , service=c`:     {{"bearer", map[string]string{"realm": `a"b`, "service": "c"}}},
		`Negotiate, Basic realm="x"`:             {{"negotiate", nil}, {"basic", map[string]string{"realm": "x"}}},
		`Negotiate YWJj==, Bearer realm="y"`:     {{"negotiate", nil}, {"bearer", map[string]string{"realm": "y"}}},
		`Bearer realm="first",realm="second"`:    {{"bearer", map[string]string{"realm": "first"}}},
		`Digest realm="x", nonce="n", Basic a=b`: {{"digest", map[string]string{"realm": "x", "nonce": "n"}}, {"basic", map[string]string{"a": "b"}}},
		`Bearer realm="no end`:                   {{"bearer", map[string]string{"realm": "no end"}}},
		`"nothing" but noise`:                    nil,
	} {
		if diff := cmp.Diff(want, parseChallenges([]string{header}), cmp.AllowUnexported(challenge{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", header, diff)
		}
	}
}

func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{
		`Basic realm="x"`, `Bearer realm="https://a/b",service="c",scope="repository:x:pull"`, `Negotiate a==, Basic`, `a=`, `a =,b= "`, "\"\\", ",,,",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list := parseChallenges([]string{s, s})
		if len(list) > maxChallenges {
			t.Fatalf("%d challenges", len(list))
		}
		for _, c := range list {
			if c.scheme == "" || c.scheme != strings.ToLower(c.scheme) || len(c.params) > maxChallengeParts {
				t.Errorf("%+v", c)
			}
		}
	})
}

func FuzzParseDockerConfig(f *testing.F) {
	for _, s := range []string{
		`{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"}},"credHelpers":{"a.b":"ecr-login"},"credsStore":"pass"}`,
		`{"auths":{"x":{"username":"u","password":"p","identitytoken":"t","registrytoken":"r"}}}`, `{}`, `{"auths":null}`, `{"auths":{"x":{"auth":"dTo="}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDockerConfig(b)
		if err != nil {
			return
		}
		for key, c := range d.auths {
			if c.Anonymous() || key != registryKey(key) && !strings.Contains(key, "/") {
				t.Errorf("%q: %s", key, c)
			}
		}
		for key, name := range d.helpers {
			if strings.ContainsAny(name, "/ \x00") {
				t.Errorf("%q: helper %q", key, name)
			}
		}
	})
}

func TestDecodeAuth(t *testing.T) {
	enc := base64.StdEncoding.EncodeToString
	for in, want := range map[string]string{
		enc([]byte("u:p")): "u p", enc([]byte("u:p:q\x00\x00")): "u p:q", enc([]byte("u:")): "u ",
	} {
		if user, password, ok := decodeAuth(in); !ok || user+" "+password != want {
			t.Errorf("%s: %q %q %v", in, user, password, ok)
		}
	}
	for _, in := range []string{"?", enc([]byte("nocolon")), enc([]byte(":p")), ""} {
		if _, _, ok := decodeAuth(in); ok {
			t.Errorf("%q was accepted", in)
		}
	}
}

func FuzzErrorText(f *testing.F) {
	f.Add([]byte(`{"errors":[{"code":"DENIED","message":"secret-key is wrong"}]}`))
	f.Add([]byte(`{"details":"no"}`))
	f.Add([]byte(`{"error":"invalid_grant","error_description":"x"}`))
	f.Add([]byte(`{"errors":[{"message":"\u001b[31m\n\u202e"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := presentable(errorText(b), []string{"secret-key", "secret", ""})
		if len(s) > maxWords+3 || strings.Contains(s, "secret") || strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("%q becomes %q", b, s)
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add(`{"token":"a.b.c","expires_in":300}`)
	f.Add(`{"access_token":"x","expires_in":1e300}`)
	f.Add(`{"token":"a\nX-Evil: 1"}`)
	f.Fuzz(func(t *testing.T, s string) {
		token, life, ok := parseToken(strings.NewReader(s))
		if ok && (token == "" || strings.ContainsAny(token, "\r\n ") || life < tokenLife || life > 24*time.Hour) {
			t.Errorf("%q for %s", token, life)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add("application/vnd.oci.image.index.v1+json", []byte(`{"manifests":[{"mediaType":"x","digest":"y","platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add("text/plain", []byte(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"sha256:0","size":-1}}`))
	f.Add("", []byte(`{"config":null,"manifests":null}`))
	f.Fuzz(func(t *testing.T, mediaType string, b []byte) {
		_, kind, err := document{mediaType, b}.parse()
		if (err == nil) == (kind == otherManifest) || err == nil && !json.Valid(b) {
			t.Errorf("kind %d, %v", kind, err)
		}
	})
}

func TestHelperEnv(t *testing.T) {
	got := helperEnv([]string{"PATH=/bin", "APRON_STORE=postgres://secret", "AWS_PROFILE=x", "AWS_ENDPOINT_URL=http://127.0.0.1:4080", "AWS_ENDPOINT_URL_ECR=x", "LD_PRELOAD=x", "HOME=/root"})
	slices.Sort(got)
	if diff := cmp.Diff([]string{"AWS_PROFILE=x", "HOME=/root", "PATH=/bin"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "soon": 0, "99999999999999999999": 0,
		now.Add(time.Minute).Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(&http.Response{Header: http.Header{"Retry-After": {value}}}, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}
