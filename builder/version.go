package builder

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"apron"
)

// versionText is what run.runtime-version may look like: numbers, with what people write before them.
var versionText = regexp.MustCompile(`^(?:v|go|python|node|nodejs|ruby|php|java|corretto|jdk-?|openjdk-?|dotnet)?(\d+(?:\.\d+)*)(?:\.x|\.\*)?$`)

// wanted returns the version prefixes to look for, the preferred first. A runtime-version that is
// nonsense, or of another major version than its runtime, is an Invalid Fault.
func (m managed) wanted(version string) ([]string, error) {
	text := strings.ToLower(strings.TrimSpace(version))
	if text == "" || text == "latest" || text == m.id {
		return m.majors, nil
	}
	match := versionText.FindStringSubmatch(text)
	if match == nil || len(text) > 40 {
		return nil, apron.Faultf(apron.Invalid, "%s runtime-version %.40q is not a version number.", unsupported, version)
	}
	for _, major := range m.majors {
		if hasPrefix(match[1], major) || hasPrefix(major, match[1]) {
			return []string{match[1]}, nil
		}
	}
	if m.id == "python3" && hasPrefix(match[1], "3") { // named after its major version alone
		return []string{match[1]}, nil
	}
	return nil, apron.Faultf(apron.Invalid, "%s runtime-version %s does not fit runtime %s.", unsupported, match[1], m)
}

// hasPrefix reports whether version begins with the components of prefix: 3.10 has the prefixes 3 and
// 3.10 but not 3.1.
func hasPrefix(version, prefix string) bool {
	return version == prefix || strings.HasPrefix(version, prefix+".")
}

// match returns the newest of the offered versions that begins with one of the prefixes, of which the
// first that matches counts; empty: none.
func match(offered, prefixes []string) string {
	for _, prefix := range prefixes {
		fits := slices.DeleteFunc(slices.Clone(offered), func(v string) bool { return !hasPrefix(v, prefix) })
		if len(fits) > 0 {
			return slices.MaxFunc(fits, compareVersions)
		}
	}
	return ""
}

// nearest returns what comes closest to the wanted version when none matches: the newest with the same
// first components, as many as possible, otherwise the oldest that is newer, otherwise the newest.
func nearest(offered []string, want string) string {
	for prefix := want; prefix != ""; {
		if v := match(offered, []string{prefix}); v != "" {
			return v
		}
		at := strings.LastIndexByte(prefix, '.')
		prefix = prefix[:max(at, 0)]
	}
	newer := slices.DeleteFunc(slices.Clone(offered), func(v string) bool { return compareVersions(v, want) < 0 })
	if len(newer) > 0 {
		oldest := slices.MinFunc(newer, compareVersions)
		major, _, _ := strings.Cut(oldest, ".")
		return match(offered, []string{major})
	}
	if len(offered) == 0 {
		return ""
	}
	return slices.MaxFunc(offered, compareVersions)
}

// compareVersions orders versions by their numbers; what is not a number counts as 0.
func compareVersions(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(as), len(bs)) {
		if c := cmp.Compare(number(as, i), number(bs, i)); c != 0 {
			return c
		}
	}
	return 0
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.Atoi(parts[i])
	if err != nil {
		return 0
	}
	return n
}
