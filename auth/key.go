package auth

import (
	"encoding/base32"
	"fmt"
	"io"

	"apron"
)

const (
	idPrefix      = "AKIA"
	secretLen     = 40
	secretLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// NewAccessKey makes a key for the principal, an IAM-style ARN, of the account: AKIA and 16 of A-Z
// and 2-7, and a secret of 40 letters and digits. It is not in the store yet. random is where the
// secret comes from: crypto/rand.Reader, but in tests.
func NewAccessKey(random io.Reader, account, principal string) (apron.AccessKey, error) {
	var id [10]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return apron.AccessKey{}, fmt.Errorf("make access key: %w", err)
	}
	secret, err := newSecret(random)
	if err != nil {
		return apron.AccessKey{}, fmt.Errorf("make access key: %w", err)
	}
	return apron.AccessKey{
		ID: idPrefix + base32.StdEncoding.EncodeToString(id[:]), Secret: secret,
		Account: account, Principal: principal,
	}, nil
}

func newSecret(random io.Reader) (string, error) {
	// The largest multiple of the number of letters that a byte can hold: below it, every letter is
	// as likely.
	const limit = 256 / len(secretLetters) * len(secretLetters)
	secret := make([]byte, 0, secretLen)
	var b [secretLen]byte
	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return "", err
		}
		for _, c := range b {
			if int(c) < limit {
				secret = append(secret, secretLetters[int(c)%len(secretLetters)])
			}
			if len(secret) == secretLen {
				return string(secret), nil
			}
		}
	}
}
