package sigv4_test

import (
	"net/http"
	"strings"
	"testing"

	"apron/sigv4"
)

// maxAllocs is the most a verification of a known key may allocate.
const maxAllocs = 10

func typical(t testing.TB) (*http.Request, []byte) {
	body := `{"ServiceArn":"arn:aws:apprunner:eu-west-1:123456789012:service/web/` + strings.Repeat("0", 32) + `"}`
	r := sdkSigned(t, http.MethodPost, "http://127.0.0.1:4080/", body, func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-amz-json-1.0")
		r.Header.Set("X-Amz-Target", "AppRunner.DescribeService")
		r.Header.Set("Amz-Sdk-Invocation-Id", "f2ca1bb6-c7e9-4f1b-9f3c-3b6a1b0c0a55")
		r.Header.Set("Amz-Sdk-Request", "attempt=1; max=3")
		r.Header.Set("User-Agent", "aws-sdk-go-v2/1.47.7")
		r.Header.Set("Accept-Encoding", "identity")
	})
	return r, []byte(body)
}

func TestVerifyAllocs(t *testing.T) {
	r, body := typical(t)
	var v sigv4.Verifier
	n := testing.AllocsPerRun(200, func() {
		if _, err := v.Verify(t.Context(), r, body, signedAt, lookup); err != nil {
			t.Fatal(err)
		}
	})
	if n > maxAllocs {
		t.Errorf("%v allocations, want at most %d", n, maxAllocs)
	}
}

func BenchmarkVerify(b *testing.B) {
	r, body := typical(b)
	var v sigv4.Verifier
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), r, body, signedAt, lookup); err != nil {
			b.Fatal(err)
		}
	}
}
