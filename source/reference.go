package source

import (
	"regexp"
	"strings"

	"github.com/distribution/reference"

	"apron"
)

// ReferenceKind tells which sort of registry a reference names.
type ReferenceKind int

// The kinds of reference.
const (
	Other     ReferenceKind = iota // any other registry
	ECR                            // <account>.dkr.ecr.<region>.amazonaws.com
	ECRPublic                      // public.ecr.aws
)

// Reference is an image name, taken apart. Tag and Digest are never both empty.
type Reference struct {
	Kind       ReferenceKind
	Host       string // registry, lower case, with its port if it has one; docker.io if none was named
	Repository string // without host, e.g. library/nginx
	Tag        string // empty when only a digest was given
	Digest     string // algorithm:hex; empty when only a tag was given. It wins over Tag
	Account    string // 12 decimal digits; ECR only
	Region     string // ECR only
}

// maxIdentifierBytes is the length limit of the model's ImageIdentifier.
const maxIdentifierBytes = 1024

// ecrHost matches the registries of Amazon ECR (model pattern of ImageIdentifier, with its dots
// taken literally; the China partition from the ECR user guide, "registry authentication").
var ecrHost = regexp.MustCompile(`^([0-9]{12})\.dkr\.ecr\.([a-z]+(?:-[a-z0-9]+)+)\.amazonaws\.com(?:\.cn)?$`)

// ParseReference reads any OCI image reference. The tag is latest when neither tag nor digest is
// given. Its error is an Invalid Fault.
func ParseReference(s string) (Reference, error) {
	if len(s) > maxIdentifierBytes {
		return Reference{}, badReference(s, nil)
	}
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Reference{}, badReference(s, err)
	}
	named = reference.TagNameOnly(named)
	r := Reference{Host: strings.ToLower(reference.Domain(named)), Repository: reference.Path(named)}
	// A first part that is a host only by its capitals would be a repository once written in lower case.
	if !strings.ContainsAny(r.Host, ".:") && r.Host != "localhost" {
		return Reference{}, badReference(s, nil)
	}
	if t, ok := named.(reference.Tagged); ok {
		r.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.Digest = d.Digest().String()
	}
	if m := ecrHost.FindStringSubmatch(r.Host); m != nil {
		r.Kind, r.Account, r.Region = ECR, m[1], m[2]
	} else if r.Host == "public.ecr.aws" {
		r.Kind = ECRPublic
	}
	return r, nil
}

func badReference(s string, err error) error {
	if len(s) > 200 {
		s = s[:200] + "..."
	}
	return &apron.Fault{Kind: apron.Invalid, Msg: "Invalid image identifier: " + strings.ToValidUTF8(s, "?"), Err: err}
}

// ecrReference returns the ECR name of a repository in scope, with the tag and digest of r.
func (r Reference) ecrReference(scope apron.Scope) Reference {
	suffix := ".amazonaws.com"
	if scope.Partition() == "aws-cn" {
		suffix += ".cn"
	}
	r.Kind, r.Account, r.Region = ECR, scope.Account, scope.Region
	r.Host = scope.Account + ".dkr.ecr." + scope.Region + suffix
	return r
}

// Name returns host/repository.
func (r Reference) Name() string { return r.Host + "/" + r.Repository }

// Canonical returns host/repository@digest: the reference that will always mean the same image.
func (r Reference) Canonical(digest string) string { return r.Name() + "@" + digest }

// String returns the reference with everything it says.
func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}
