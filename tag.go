package apron

// MaxTags is how many tags a resource may have (AWS-wide rule).
const MaxTags = 50

// Tag is one key and value on a resource. Tags of a resource keep the order in which their keys
// were first added.
type Tag struct {
	Key   string // 1-128 characters, not starting with "aws:"
	Value string // 0-256 characters
}
