package builder

import "apron"

// Variable is an environment variable of a build. Value is sensitive: it is never logged and does not
// become part of the image.
type Variable struct{ Name, Value string }

// RuntimeDocker is the Runtime of a Plan that is built from a Dockerfile.
const RuntimeDocker = "docker"

// Plan is what to build: a source tree and what apprunner.yaml, or CodeConfigurationValues in its
// place, says of it. Commands are shell lines and, like BuildEnv, sensitive.
type Plan struct {
	Service  apron.ServiceID
	Revision apron.RevisionID
	Scope    apron.Scope // whose embedded registry a Dockerfile may name images of

	Dir             string // directory on this machine with the whole repository at the commit
	SourceDirectory string // where commands run, below Dir, with slashes; "" or "/": Dir itself

	Runtime        string // identifier as in apprunner.yaml, such as "nodejs22", or RuntimeDocker
	RuntimeVersion string // run.runtime-version as written; empty: the newest there is

	PreBuild, Build, PostBuild []string // each line runs in a shell of its own
	PreRun                     []string // revised builds only
	BuildEnv                   []Variable

	Command    string // start command; empty with a Dockerfile: what the image says
	Dockerfile string // with RuntimeDocker, path below the source directory; empty: Dockerfile
	Port       uint16 // where the application will listen; the image says so too
}

// Result is a finished build.
type Result struct {
	// Image is in the engine's store under its reference. No registry has it, and none is asked.
	Image          apron.Image
	RuntimeVersion string   // full version of the language that was used; empty with a Dockerfile
	Base           string   // where the base image came from, in words
	Warnings       []string // what the user should know although the build succeeded
}
