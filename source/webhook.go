package source

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
)

// MaxWebhookBytes is the largest webhook that is read: GitHub's own limit.
const MaxWebhookBytes = 25 << 20

// ErrSignature is returned for webhooks that were not sent by somebody with the secret.
var ErrSignature = errors.New("the webhook is not signed with the secret")

// Webhook is what a Git host tells.
type Webhook struct {
	Push bool // else it is something nobody here waits for, such as a ping
	// Branch is the one that was pushed to; empty: the webhook does not say, or says several.
	Branch string
}

// ReadWebhook reads a webhook of GitHub, GitLab, Gitea, Forgejo, Gogs or Bitbucket and checks that it
// was signed with the secret, or has it as GitLab's token. ErrSignature; another error means that the
// body could not be read.
//
// What a webhook says is a hint to look at the repository, so whatever the body holds does no harm.
func ReadWebhook(header http.Header, body io.Reader, secret string) (Webhook, error) {
	signature := hmac.New(sha256.New, []byte(secret))
	var start bytes.Buffer // what is of interest stands there, and the rest may be large
	n, err := io.Copy(io.MultiWriter(signature, &limitedBuffer{&start, 64 << 10}), io.LimitReader(body, MaxWebhookBytes+1))
	switch {
	case err != nil:
		return Webhook{}, err
	case n > MaxWebhookBytes:
		return Webhook{}, errors.New("the webhook is too large")
	case !signed(header, signature.Sum(nil), secret):
		return Webhook{}, ErrSignature
	}
	w := Webhook{Push: isPush(header)}
	if w.Push {
		w.Branch = pushedBranch(start.Bytes())
	}
	return w, nil
}

// signed checks the signature that each kind of host sends in a header of its own.
func signed(header http.Header, sum []byte, secret string) bool {
	if token := header.Get("X-Gitlab-Token"); token != "" {
		return subtle.ConstantTimeCompare([]byte(token), []byte(secret)) == 1
	}
	for _, name := range []string{"X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature", "X-Hub-Signature"} {
		value, ok := strings.CutPrefix(header.Get(name), "sha256=") // Bitbucket's X-Hub-Signature is of SHA-256 too
		if value == "" || !ok && strings.HasPrefix(name, "X-Hub") {
			continue
		}
		given, err := hex.DecodeString(value)
		return err == nil && hmac.Equal(given, sum)
	}
	return false
}

// isPush tells pushes by the header in which each kind of host names the event. One without such a
// header is taken for a push.
func isPush(header http.Header) bool {
	events := []string{"X-Github-Event", "X-Gitea-Event", "X-Forgejo-Event", "X-Gogs-Event", "X-Gitlab-Event", "X-Event-Key"}
	pushes := []string{"push", "push hook", "system hook", "repo:push", "repo:refs_changed"}
	named := false
	for _, name := range events {
		if event := strings.ToLower(header.Get(name)); event != "" {
			named = true
			if slices.Contains(pushes, event) {
				return true
			}
		}
	}
	return !named
}

// pushedBranch finds the member ref at the top of a JSON object, which may be cut off. Bitbucket's has
// none.
func pushedBranch(start []byte) string {
	dec := json.NewDecoder(bytes.NewReader(start))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for {
		key, err := dec.Token()
		if err != nil || key == json.Delim('}') {
			return ""
		}
		if key != "ref" {
			var skipped json.RawMessage
			if err := dec.Decode(&skipped); err != nil {
				return ""
			}
			continue
		}
		value, err := dec.Token()
		name, isText := value.(string)
		if err != nil || !isText {
			return ""
		}
		branch, _ := strings.CutPrefix(name, "refs/heads/")
		return branch
	}
}

// limitedBuffer keeps the beginning of what is written to it.
type limitedBuffer struct {
	*bytes.Buffer
	limit int
}

// Write is part of io.Writer.
func (b *limitedBuffer) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), b.limit-b.Len())])
	return len(p), nil
}
