package apron

import (
	"slices"
	"strings"
)

// MaxTags is how many tags a resource may have (AWS-wide rule).
const MaxTags = 50

// TagPrefix begins the keys that switch extensions of Apron on.
const TagPrefix = "apron:"

// Tag is one key and value on a resource. Tags of a resource keep the order in which their keys
// were first added.
type Tag struct {
	Key   string // 1-128 characters, not starting with "aws:"
	Value string // 0-256 characters
}

// CheckTags reports, as an Invalid Fault, what one call may not add to a resource of the type: more
// than MaxTags tags, a key twice, or a key with TagPrefix that nobody knows or whose value is not
// one of its, which is a mistake to be told rather than kept.
func CheckTags(t ResourceType, tags []Tag) error {
	if len(tags) > MaxTags {
		return TooManyTags()
	}
	seen := make(map[string]bool, len(tags))
	for _, tag := range tags {
		if seen[tag.Key] {
			return Faultf(Invalid, "Duplicate tag key: %s", tag.Key)
		}
		seen[tag.Key] = true
		if !strings.HasPrefix(tag.Key, TagPrefix) {
			continue
		}
		known := KnownTags(t)
		if slices.Contains(known, tag.Key) {
			continue
		}
		allowed := "none in this version"
		if len(known) > 0 {
			allowed = strings.Join(known, ", ")
		}
		return Faultf(Invalid, "Unknown tag key: %s. Keys that begin with %s on a resource of type %s: %s.", tag.Key, TagPrefix, t, allowed)
	}
	if t != ResourceService {
		return nil
	}
	_, err := ParseExtensions(tags)
	return err
}

// TooManyTags returns the Invalid Fault for a resource that would get more than MaxTags tags.
func TooManyTags() error {
	return Faultf(Invalid, "A resource can have at most %d tags.", MaxTags)
}
