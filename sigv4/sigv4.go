// Package sigv4 verifies AWS Signature Version 4 in the Authorization header of HTTP requests, as
// every AWS service but S3 does (AWS General Reference, "Signature Version 4").
//
// It stands at the front of the API's walk: package api reads a body, has Verify say who signed
// the request for which region and service, and only then looks at what is asked. Query-string
// signatures, chunked signatures and unsigned payloads are not offered: the body must be hashed.
package sigv4

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// MaxSkew is how far the time of a signature may be from ours, either way. It also bounds how long
// a captured request can be replayed.
const MaxSkew = 5 * time.Minute

// Identity is what a valid signature says.
type Identity struct {
	AccessKeyID string
	Region      string    // of the credential scope, as the client wrote it
	Service     string    // signing name of the credential scope, e.g. apprunner
	Date        time.Time // when the request was signed, UTC
}

// Lookup returns the secret of an access key id; ok is false when there is no such key. The secret
// is only used to verify and to derive signing keys.
type Lookup func(ctx context.Context, accessKeyID string) (secret string, ok bool, err error)

// Verifier verifies signatures. The zero value is ready; it is safe for concurrent use and must
// not be copied. It keeps derived signing keys in memory, at most 2*maxKeys of them.
type Verifier struct {
	keys keyCache
}

// Verify checks the signature of r, whose body has been read into body, at the time now.
//
// Its errors are *Error for everything a client did wrong; an error of lookup is returned wrapped.
// A request without an Authorization header is refused before lookup is called.
func (v *Verifier) Verify(ctx context.Context, r *http.Request, body []byte, now time.Time, lookup Lookup) (Identity, error) {
	auth, err := fromRequest(r)
	if err != nil {
		return Identity{}, err
	}
	date, err := signingTime(r, now)
	if err != nil {
		return Identity{}, err
	}
	if err := auth.covers(r, date); err != nil {
		return Identity{}, err
	}
	if r.Header.Get("X-Amz-Security-Token") != "" {
		// Only temporary credentials come with a token, and nothing here issues those.
		return Identity{}, unrecognized()
	}
	secret, ok, err := lookup(ctx, auth.AccessKeyID)
	if err != nil {
		return Identity{}, fmt.Errorf("look up access key: %w", err)
	}
	if !ok {
		return Identity{}, unrecognized()
	}
	id := keyID{secret, auth.Date, auth.Region, auth.Service}
	key, cached := v.keys.get(id)
	if !cached {
		key = id.derive()
	}
	want := signature(key, r, body, auth, date)
	if subtle.ConstantTimeCompare(want[:], auth.signature[:]) != 1 {
		return Identity{}, &Error{InvalidSignature, "The request signature we calculated does not match the signature you provided. " +
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	}
	if !cached { // only for keys that proved right, so that strangers cannot empty the cache
		v.keys.put(id, key)
	}
	return Identity{AccessKeyID: auth.AccessKeyID, Region: auth.Region, Service: auth.Service, Date: date}, nil
}

// signature returns what the client should have signed with.
func signature(key signingKey, r *http.Request, body []byte, auth Authorization, date time.Time) [sha256.Size]byte {
	b := appendCanonicalRequest(make([]byte, 0, 1024), r, auth.SignedHeaders, sha256.Sum256(body))
	canonical := sha256.Sum256(b)

	b = append(b[:0], algorithm+"\n"...)
	b = append(date.AppendFormat(b, timeFormat), '\n')
	b = append(append(b, auth.scope...), '\n')
	b = hex.AppendEncode(b, canonical[:])

	mac := hmac.New(sha256.New, key[:])
	mac.Write(b)
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	return sum
}
