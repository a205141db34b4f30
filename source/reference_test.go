package source_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/source"
)

const zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func TestParseReference(t *testing.T) {
	const ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
	for in, want := range map[string]source.Reference{
		"nginx":                         {Host: "docker.io", Repository: "library/nginx", Tag: "latest"},
		"index.docker.io/library/nginx": {Host: "docker.io", Repository: "library/nginx", Tag: "latest"},
		"team/web:1.2":                  {Host: "docker.io", Repository: "team/web", Tag: "1.2"},
		"GHCR.io/team/web":              {Host: "ghcr.io", Repository: "team/web", Tag: "latest"},
		"127.0.0.1:4080/web:v1":         {Host: "127.0.0.1:4080", Repository: "web", Tag: "v1"},
		"localhost/web":                 {Host: "localhost", Repository: "web", Tag: "latest"},
		"[::1]:4080/a/b/c@" + zeros:     {Host: "[::1]:4080", Repository: "a/b/c", Digest: zeros},
		"example.com/web:v1@" + zeros:   {Host: "example.com", Repository: "web", Tag: "v1", Digest: zeros},
		"public.ecr.aws/docker/library/alpine:3": {
			Kind: source.ECRPublic, Host: "public.ecr.aws", Repository: "docker/library/alpine", Tag: "3",
		},
		ecr + "/web": {
			Kind: source.ECR, Host: ecr, Repository: "web", Tag: "latest", Account: "123456789012", Region: "us-east-1",
		},
		ecr + "/team/web@" + zeros: {
			Kind: source.ECR, Host: ecr, Repository: "team/web", Digest: zeros, Account: "123456789012", Region: "us-east-1",
		},
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/web:1": {
			Kind: source.ECR, Host: "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", Repository: "web", Tag: "1",
			Account: "123456789012", Region: "cn-north-1",
		},
		"12345.dkr.ecr.us-east-1.amazonaws.com/web": {
			Host: "12345.dkr.ecr.us-east-1.amazonaws.com", Repository: "web", Tag: "latest",
		},
		ecr + ".example.com/web": {Host: ecr + ".example.com", Repository: "web", Tag: "latest"},
	} {
		got, err := source.ParseReference(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	for _, in := range []string{
		"", " ", "Web", "web:", "web:a b", "web@sha256:00", "example.com/", "http://example.com/web", "a//b", "../web",
		"Foo/web", "web:" + strings.Repeat("t", 129), "example.com/" + strings.Repeat("a/", 600) + "a",
		ecr + "/Web:1", "web\n", "-web", strings.Repeat("0", 64),
	} {
		got, err := source.ParseReference(in)
		if apron.KindOf(err) != apron.Invalid {
			t.Errorf("%.80q: got %+v, %v, want an Invalid fault", in, got, err)
		}
	}
}

// FuzzReference holds that what was read once is read again the same, whatever it was.
func FuzzReference(f *testing.F) {
	for _, s := range []string{
		"nginx", "a.b/c:d@" + zeros, "localhost:1/x", "[::1]:80/x", "Foo.io/x", "FOO/x", "docker.io/x", "x:y/z:w",
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com/a__b.c-d/e:latest", "public.ecr.aws/a/b", "\xff/\x00", "a@sha512:" + strings.Repeat("0", 128),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := source.ParseReference(s)
		if err != nil {
			if apron.KindOf(err) != apron.Invalid {
				t.Fatalf("%q: %v is not an Invalid fault", s, err)
			}
			return
		}
		if ref.Tag == "" && ref.Digest == "" || ref.Host == "" || ref.Repository == "" || strings.ContainsAny(ref.String(), " \n\x00") {
			t.Fatalf("%q: incomplete: %+v", s, ref)
		}
		if (ref.Kind == source.ECR) != (ref.Account != "") {
			t.Fatalf("%q: %+v", s, ref)
		}
		again, err := source.ParseReference(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q: %+v, then %+v, %v", s, ref, again, err)
		}
		pinned, err := source.ParseReference(ref.Canonical(zeros))
		if err != nil || pinned.Name() != ref.Name() || pinned.Digest != zeros || pinned.Tag != "" {
			t.Fatalf("%q: pinned as %+v, %v", s, pinned, err)
		}
	})
}
