package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Bounds of a credential helper.
const (
	helperTimeout  = 15 * time.Second
	maxHelperBytes = 64 << 10
)

// identityUser is the user name by which a helper says that the secret is an identity token.
const identityUser = "<token>"

// askHelper runs docker-credential-NAME get, which reads a server's name from standard input and
// writes its credential as JSON (docker-credential-helpers, "development"). There is no shell in
// between. A helper that knows no credential for the server yields the zero value.
func askHelper(ctx context.Context, name, server string) (Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	program := "docker-credential-" + name
	out := &boundedBuffer{}
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin, cmd.Stdout = strings.NewReader(server), out
	cmd.Env, cmd.Dir = helperEnv(os.Environ()), "/"
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return Credential{}, fmt.Errorf("run %s: %w", program, ctx.Err())
	case err != nil && strings.Contains(out.String(), "credentials not found"):
		return Credential{}, nil // the protocol's words for it
	case err != nil:
		return Credential{}, fmt.Errorf("run %s: %w", program, err) // without its output, which may hold anything
	}
	var answer struct{ Username, Secret string }
	if json.Unmarshal(out.Bytes(), &answer) != nil || answer.Secret == "" {
		return Credential{}, fmt.Errorf("run %s: it answered in an unknown form", program)
	}
	if answer.Username == identityUser {
		return Credential{IdentityToken: answer.Secret}, nil
	}
	return Credential{User: answer.Username, Password: answer.Secret}, nil
}

// helperEnv keeps of the environment what helpers of the large clouds are configured with. An
// endpoint of AWS that leads to this very server is not passed on.
func helperEnv(env []string) []string {
	kept := slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		switch name {
		case "PATH", "HOME", "USER", "TMPDIR", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
			"http_proxy", "https_proxy", "no_proxy", "CLOUDSDK_CONFIG":
			return false
		}
		if strings.HasPrefix(name, "AWS_ENDPOINT_URL") {
			return true
		}
		return !slices.ContainsFunc([]string{"AWS_", "GOOGLE_", "AZURE_", "XDG_"}, func(p string) bool { return strings.HasPrefix(name, p) })
	})
	return slices.Clip(kept)
}

// boundedBuffer takes so much and no more.
type boundedBuffer struct{ bytes.Buffer }

// Write is part of io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxHelperBytes {
		return 0, errors.New("too much output")
	}
	return b.Buffer.Write(p)
}
