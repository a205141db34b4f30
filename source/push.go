package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Push uploads an image or an index to ref (HOST[:PORT]/REPOSITORY[:TAG]) and returns its digest. A
// leading http:// asks for plain HTTP, which loopback hosts get anyway. A transfer that meets a
// passing failure is tried again a few times.
func Push(ctx context.Context, img remote.Taggable, ref, user, password string) (digest string, err error) {
	rest, plain := strings.CutPrefix(ref, "http://")
	parsed, err := ParseReference(rest)
	if err != nil {
		return "", err
	}
	if parsed.Digest != "" {
		return "", fmt.Errorf("push to %s: push to a tag, the digest follows from the content", parsed)
	}
	raw, err := img.RawManifest()
	if err != nil {
		return "", fmt.Errorf("read image: %w", err)
	}
	rt := newTransport()
	defer rt.CloseIdleConnections()
	loc := Location{
		Host: parsed.Host, PlainHTTP: plain || isLoopback(parsed.Host), Repository: parsed.Repository,
		Credential: Credential{User: user, Password: password},
	}
	repo, opts, err := loc.client(rt)
	if err != nil {
		return "", fmt.Errorf("push to %s: %w", parsed, err)
	}
	pusher, err := remote.NewPusher(opts...)
	if err != nil {
		return "", fmt.Errorf("push to %s: %w", parsed, err)
	}
	if err := pusher.Push(ctx, repo.Tag(parsed.Tag), img); err != nil {
		return "", fmt.Errorf("push to %s: %w", parsed, explainPush(err))
	}
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// client returns the repository in the terms of the client library, and how to speak to it.
func (l Location) client(rt http.RoundTripper) (name.Repository, []remote.Option, error) {
	var opts []name.Option
	if l.PlainHTTP {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(l.Host, opts...)
	if err != nil {
		return name.Repository{}, nil, err
	}
	auth := authn.Anonymous
	if l.User != "" {
		auth = &authn.Basic{Username: l.User, Password: l.Password}
	}
	return reg.Repo(l.Repository), []remote.Option{
		remote.WithAuth(auth), remote.WithTransport(&oneScheme{rt, l.Host, l.PlainHTTP}), remote.WithUserAgent("apron"),
	}, nil
}

var errPushDenied = errors.New("the registry does not accept these credentials")

func explainPush(err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("%w (status %d)", errPushDenied, answer.StatusCode)
	}
	return err
}
