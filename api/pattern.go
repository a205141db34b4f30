package api

import (
	"regexp"
	"strings"
)

// matchTagKey checks ^(?!aws:).+ (shape TagKey), which Go's regexp has no look-ahead for.
func matchTagKey(s string) bool { return s != "" && !strings.HasPrefix(s, "aws:") }

// awsImage is the model's own pattern of shape ImageIdentifier, with literal dots: images of
// private and public ECR.
var awsImage = regexp.MustCompile(`^(?:([0-9]{12})\.dkr\.ecr\.([a-z\-]+-[0-9])\.amazonaws\.com/` + awsImageRest +
	`|public\.ecr\.aws/.+/` + awsImageRest + `)$`)

const awsImageRest = `(?:(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*)(?::[\w+\-=._:/@]+|@[\w:]+)?`

// ociReference is the grammar of image references (OCI distribution specification, "Pulling
// manifests", for repository and tag; OCI image specification, "Digests"), preceded by an optional
// registry host and port.
var ociReference = regexp.MustCompile(`^(?:(?:` + ociHost + `(?:\.` + ociHost + `)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/)?` +
	`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
	`(?::\w[\w.-]{0,127})?` +
	`(?:@[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,})?$`)

const ociHost = `(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)`

// matchImageIdentifier accepts what AWS accepts and any other OCI image reference.
func matchImageIdentifier(s string) bool {
	return ociReference.MatchString(s) || awsImage.MatchString(s)
}

// ecrAccount returns the account of a private ECR image, or empty for any other reference.
func ecrAccount(image string) string {
	m := awsImage.FindStringSubmatch(image)
	if m == nil {
		return ""
	}
	return m[1]
}
