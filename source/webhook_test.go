package source_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"apron/source"
)

// sign is the signature of a body under the secret "secret".
func sign(body string) string {
	h := hmac.New(sha256.New, []byte("secret"))
	h.Write([]byte(body))
	return hex.EncodeToString(h.Sum(nil))
}

func TestWebhooks(t *testing.T) {
	const push = `{"before":"0","nested":{"ref":"x","list":[1,{"ref":"y"}]},"ref":"refs/heads/team/main","commits":[]}`
	const bitbucket = `{"push":{"changes":[{"new":{"type":"branch","name":"main"}}]}}`
	for name, tt := range map[string]struct {
		header [][2]string
		body   string
		want   source.Webhook
	}{
		"GitHub":             {[][2]string{{"X-GitHub-Event", "push"}, {"X-Hub-Signature-256", "sha256=" + sign(push)}, {"X-Hub-Signature", "sha1=00"}}, push, source.Webhook{Push: true, Branch: "team/main"}},
		"GitHub's ping":      {[][2]string{{"X-GitHub-Event", "ping"}, {"X-Hub-Signature-256", "sha256=" + sign("{}")}}, "{}", source.Webhook{}},
		"a form":             {[][2]string{{"X-GitHub-Event", "push"}, {"X-Hub-Signature-256", "sha256=" + sign("payload=x")}}, "payload=x", source.Webhook{Push: true}},
		"Gitea":              {[][2]string{{"X-Gitea-Event", "push"}, {"X-GitHub-Event", "push"}, {"X-Gitea-Signature", sign(push)}}, push, source.Webhook{Push: true, Branch: "team/main"}},
		"GitLab":             {[][2]string{{"X-Gitlab-Event", "Push Hook"}, {"X-Gitlab-Token", "secret"}}, push, source.Webhook{Push: true, Branch: "team/main"}},
		"GitLab's tag":       {[][2]string{{"X-Gitlab-Event", "Tag Push Hook"}, {"X-Gitlab-Token", "secret"}}, push, source.Webhook{}},
		"Bitbucket":          {[][2]string{{"X-Event-Key", "repo:push"}, {"X-Hub-Signature", "sha256=" + sign(bitbucket)}}, bitbucket, source.Webhook{Push: true}},
		"Bitbucket's server": {[][2]string{{"X-Event-Key", "repo:refs_changed"}, {"X-Hub-Signature", "sha256=" + sign("{}")}}, "{}", source.Webhook{Push: true}},
		"no event":           {[][2]string{{"X-Hub-Signature-256", "sha256=" + sign(push)}}, push, source.Webhook{Push: true, Branch: "team/main"}},
	} {
		header := http.Header{}
		for _, h := range tt.header {
			header.Set(h[0], h[1])
		}
		got, err := source.ReadWebhook(header, strings.NewReader(tt.body), "secret")
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tt.want)
		}
		if _, err := source.ReadWebhook(header, strings.NewReader(tt.body), "other"); !errors.Is(err, source.ErrSignature) {
			t.Errorf("%s by another secret: %v", name, err)
		}
		if _, err := source.ReadWebhook(header, strings.NewReader(tt.body+" "), "secret"); !errors.Is(err, source.ErrSignature) && !strings.HasPrefix(name, "GitLab") {
			t.Errorf("%s changed on the way: %v", name, err)
		}
	}
}

func TestWebhooksRefused(t *testing.T) {
	for name, header := range map[string]http.Header{
		"unsigned":   {},
		"SHA-1":      {"X-Hub-Signature": {"sha1=" + sign("{}")}},
		"no hex":     {"X-Hub-Signature-256": {"sha256=zz"}},
		"no scheme":  {"X-Hub-Signature-256": {sign("{}")}},
		"empty":      {"X-Hub-Signature-256": {"sha256="}, "X-Gitlab-Token": {""}},
		"first bad":  {"X-Hub-Signature-256": {"sha256=00"}, "X-Gitea-Signature": {sign("{}")}},
		"GitLab bad": {"X-Gitlab-Token": {"secre"}},
	} {
		if _, err := source.ReadWebhook(header, strings.NewReader("{}"), "secret"); !errors.Is(err, source.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := source.ReadWebhook(http.Header{}, iotest.ErrReader(errors.New("gone")), "secret"); err == nil || errors.Is(err, source.ErrSignature) {
		t.Errorf("a broken body: %v", err)
	}
	if _, err := source.ReadWebhook(http.Header{}, strings.NewReader(strings.Repeat("x", source.MaxWebhookBytes+1)), "secret"); err == nil || errors.Is(err, source.ErrSignature) {
		t.Errorf("a body that is too large: %v", err)
	}
}

func FuzzWebhook(f *testing.F) {
	for _, seed := range []string{`{"ref":"refs/heads/main"}`, `{"a":{"ref":1},"ref":`, `{"ref":[]}`, `[]`, ``, `{"ref":null,"ref":"refs/heads/x"}`, `{"a":` + strings.Repeat("[", 100)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		header := http.Header{"X-Gitlab-Token": {"secret"}, "X-Gitlab-Event": {"Push Hook"}}
		w, err := source.ReadWebhook(header, strings.NewReader(body), "secret")
		if err != nil || !w.Push {
			t.Errorf("%+v, %v", w, err)
		}
	})
}
