package source

import (
	"bytes"
	"encoding/pem"
	"strings"

	"apron"
)

// CheckGitCredential refuses a credential that cannot open anything, as an Invalid Fault which holds
// nothing of it.
func CheckGitCredential(c GitCredential) error {
	switch {
	case c.Token != "" && c.SSHKey != "":
		return apron.Faultf(apron.Invalid, "A connection has a token or a key, not both.")
	case strings.ContainsAny(c.User+c.Token, " \t\r\n\x00"):
		return apron.Faultf(apron.Invalid, "A token and its user name are one word each.")
	case c.SSHKey == "":
		return nil
	}
	block, _ := pem.Decode([]byte(c.SSHKey))
	switch {
	case block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return apron.Faultf(apron.Invalid, "The key is no private key in OpenSSH or PEM form.")
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" || hasPassphrase(block.Bytes):
		return apron.Faultf(apron.Invalid, "The key has a passphrase, which nobody would be there to enter.")
	}
	return nil
}

// hasPassphrase reports whether a key in OpenSSH's own form names a cipher (PROTOCOL.key).
func hasPassphrase(key []byte) bool {
	rest, ok := bytes.CutPrefix(key, []byte("openssh-key-v1\x00"))
	return ok && !bytes.HasPrefix(rest, []byte("\x00\x00\x00\x04none"))
}
