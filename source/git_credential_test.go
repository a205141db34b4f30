package source_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"apron/source"
)

func TestCheckGitCredential(t *testing.T) {
	key := func(args ...string) string {
		t.Helper()
		name := filepath.Join(t.TempDir(), "key")
		out, err := exec.CommandContext(t.Context(), "ssh-keygen", append([]string{"-q", "-f", name}, args...)...).CombinedOutput()
		if err != nil {
			t.Skipf("ssh-keygen: %v\n%s", err, out)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	good := key("-t", "ed25519", "-N", "")
	for name, c := range map[string]source.GitCredential{
		"none": {}, "token": {Token: "ghp_x"}, "user": {User: "a", Token: "b"}, "key": {SSHKey: good},
		"PEM": {SSHKey: key("-t", "rsa", "-b", "1024", "-m", "PEM", "-N", "")},
	} {
		if err := source.CheckGitCredential(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tt := range map[string]struct {
		c    source.GitCredential
		want string
	}{
		"both":               {source.GitCredential{Token: "a", SSHKey: good}, "not both"},
		"two lines":          {source.GitCredential{Token: "a\nb"}, "one word"},
		"two words":          {source.GitCredential{User: "a b", Token: "c"}, "one word"},
		"no key":             {source.GitCredential{SSHKey: "hello"}, "no private key"},
		"public":             {source.GitCredential{SSHKey: "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"}, "no private key"},
		"passphrase":         {source.GitCredential{SSHKey: key("-t", "ed25519", "-N", "hunter2")}, "has a passphrase"},
		"passphrase and PEM": {source.GitCredential{SSHKey: key("-t", "rsa", "-b", "1024", "-m", "PEM", "-N", "hunter2")}, "has a passphrase"},
	} {
		wantFault(t, source.CheckGitCredential(tt.c), tt.want)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}
