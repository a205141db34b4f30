package builder

import (
	"fmt"
	"slices"
	"strings"

	"apron"
)

// language is what a managed runtime's base image has to have.
type language string

const (
	langNode   language = "nodejs"
	langPython language = "python"
	langGo     language = "go"
	langJava   language = "java"
	langRuby   language = "ruby"
	langPHP    language = "php"
	langDotnet language = "dotnet"
)

// managed is a managed runtime as App Runner's developer guide defines it: the language, the versions
// its identifier stands for, and which of the two kinds of build it has.
type managed struct {
	id       string
	language language
	// majors are the version prefixes the identifier allows, the preferred first. An empty
	// RuntimeVersion means the newest version that begins with the first of them that is on offer.
	majors  []string
	revised bool
	ours    bool // an extension: App Runner does not have it
}

// runtimes returns all managed runtimes, in the order of the developer guide, then our own.
func runtimes() []managed {
	return []managed{
		{id: "python3", language: langPython, majors: []string{"3.8", "3.7"}},
		{id: "python311", language: langPython, majors: []string{"3.11"}, revised: true},
		{id: "nodejs12", language: langNode, majors: []string{"12"}},
		{id: "nodejs14", language: langNode, majors: []string{"14"}},
		{id: "nodejs16", language: langNode, majors: []string{"16"}},
		{id: "nodejs18", language: langNode, majors: []string{"18"}, revised: true},
		{id: "nodejs22", language: langNode, majors: []string{"22"}, revised: true},
		{id: "corretto8", language: langJava, majors: []string{"8"}},
		{id: "corretto11", language: langJava, majors: []string{"11"}},
		{id: "dotnet6", language: langDotnet, majors: []string{"6"}},
		{id: "go1", language: langGo, majors: []string{"1"}},
		{id: "php81", language: langPHP, majors: []string{"8.1"}},
		{id: "ruby31", language: langRuby, majors: []string{"3.1"}},
		{id: "nodejs20", language: langNode, majors: []string{"20"}, revised: true, ours: true},
		{id: "nodejs24", language: langNode, majors: []string{"24"}, revised: true, ours: true},
		{id: "python312", language: langPython, majors: []string{"3.12"}, revised: true, ours: true},
		{id: "python313", language: langPython, majors: []string{"3.13"}, revised: true, ours: true},
	}
}

// unsupported is App Runner's text for a runtime version it does not have.
const unsupported = "The specified runtime version is not supported. Refer to the Release information in the App Runner Developer guide for supported runtime versions."

// findRuntime returns the managed runtime of an identifier, which the API spells NODEJS_22 and
// apprunner.yaml nodejs22.
func findRuntime(id string) (managed, error) {
	name := strings.ToLower(strings.ReplaceAll(id, "_", ""))
	all := runtimes()
	if i := slices.IndexFunc(all, func(m managed) bool { return m.id == name }); i >= 0 {
		return all[i], nil
	}
	known := make([]string, 0, len(all))
	for _, m := range all {
		known = append(known, m.id)
	}
	return managed{}, apron.Faultf(apron.Invalid, "%s The runtime %q is not known; there are %s, and %s to build from a Dockerfile.",
		unsupported, id, strings.Join(known, ", "), RuntimeDocker)
}

// Check refuses, as an Invalid Fault, a managed runtime that there is not, and a version that can be none
// of it. Whether the version is on offer is seen by a build.
func Check(runtime, version string) error {
	m, err := findRuntime(runtime)
	if err == nil {
		_, err = m.wanted(version)
	}
	return err
}

// String returns the identifier with what it stands for, for messages.
func (m managed) String() string { return fmt.Sprintf("%s (%s %s)", m.id, m.language, m.majors[0]) }
