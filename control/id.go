package control

import (
	"crypto/rand"
	"encoding/hex"

	"github.com/google/uuid"

	"apron"
)

// newID returns 32 lower-case hex digits, as App Runner's resource ids are: a UUIDv4 without its
// dashes.
func newID() string {
	id := uuid.New()
	return hex.EncodeToString(id[:])
}

// newOperationID returns a dashed UUIDv4 (API shape UUID).
func newOperationID() apron.OperationID { return apron.OperationID(uuid.NewString()) }

// Alphabets of random text.
const (
	letters       = "abcdefghijklmnopqrstuvwxyz"
	lettersDigits = letters + "0123456789"
)

// newHostLabel returns the 10 characters of a-z and 0-9 that start a service's default domain.
func newHostLabel() string { return randomText(lettersDigits, 10) }

// newHost returns a host name of its own in a region for a service or VPC ingress connection.
func (c *Control) newHost(region string) string {
	return newHostLabel() + "." + region + "." + c.cfg.Domain
}

// randomText returns n characters of the alphabet, each as likely.
func randomText(alphabet string, n int) string {
	text := make([]byte, 0, n)
	limit := 256 - 256%len(alphabet) // bytes from here on would favour the first characters
	var b [32]byte
	for len(text) < n {
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program instead
		for _, c := range b {
			if int(c) < limit && len(text) < n {
				text = append(text, alphabet[int(c)%len(alphabet)])
			}
		}
	}
	return string(text)
}
