package source

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"apron"
)

// The platform instances run on: Linux and this machine's architecture.
const (
	platformOS   = "linux"
	platformArch = runtime.GOARCH
)

// platformSet holds the platforms an image is for, as os/architecture.
type platformSet map[string]struct{}

func (s platformSet) add(os, arch string) { s[printable(os)+"/"+printable(arch)] = struct{}{} }

func (s platformSet) merge(o platformSet) { maps.Copy(s, o) }

func (s platformSet) usable() bool {
	_, ok := s[platformOS+"/"+platformArch]
	return ok
}

// check returns an Invalid Fault that says why the image cannot run here, or nil.
func (s platformSet) check(ref Reference) error {
	if s.usable() {
		return nil
	}
	others := slices.Sorted(maps.Keys(s))
	others = slices.DeleteFunc(others, func(p string) bool { return p == "unknown/unknown" }) // attestations
	if len(others) == 0 {
		return notImage(ref, nil)
	}
	if len(others) > 10 {
		others = append(others[:10], "others")
	}
	return apron.Faultf(apron.Invalid, "The image %s does not run on %s/%s: it is made for %s.",
		ref, platformOS, platformArch, strings.Join(others, ", "))
}

func notImage(ref Reference, err error) error {
	return &apron.Fault{
		Kind: apron.Invalid, Err: err,
		Msg: fmt.Sprintf("The image %s is not a container image for %s/%s.", ref, platformOS, platformArch),
	}
}

// configPlatform reads the platform out of an image configuration (OCI image specification,
// "config"); empty when it is the configuration of something else.
func configPlatform(raw []byte) platformSet {
	var cfg struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	}
	s := platformSet{}
	if json.Unmarshal(raw, &cfg) != nil || cfg.OS == "" || cfg.Architecture == "" {
		return s
	}
	s.add(cfg.OS, cfg.Architecture)
	return s
}

// printable keeps what a stranger wrote short enough for a message.
func printable(s string) string {
	if len(s) > 32 {
		s = s[:32]
	}
	return strings.ToValidUTF8(s, "?")
}
