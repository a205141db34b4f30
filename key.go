package apron

import "time"

// AccessKey lets a principal sign requests. Secret is sensitive: never log it.
type AccessKey struct {
	ID         string // the access key id, e.g. AKIA followed by 16 of A-Z2-7
	Secret     string // 40 characters
	Account    string // 12 decimal digits
	Principal  string // IAM-style ARN of who signs with it
	Disabled   bool   // a disabled key is treated as if it did not exist
	CreatedAt  time.Time
	LastUsedAt time.Time // zero: never
}
