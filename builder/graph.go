package builder

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

// appDir is where the repository is, in builds and at run time (developer guide: "/app").
const appDir = "/app"

// sourceName is the name under which builds see the repository.
const sourceName = "source"

// graph is a build of a managed runtime as BuildKit is told it. All members are read-only.
type graph struct {
	plan     Plan
	base     baseImages
	revised  bool
	caches   []cacheMount
	manifest manifest // what dependencies are installed from, ahead of the sources
	secrets  []string // names of the variables that steps get
	envMark  string   // changes with the values of those variables
	offline  bool
}

// cacheMount is a directory that outlives a build, for what a package manager downloads.
type cacheMount struct {
	kind, dir string
	alone     bool // two runs at a time would spoil it
	// seed is a command whose results in dir a new cache begins with; it runs once for all services.
	// Empty: a new cache is empty.
	seed string
	// env has the package manager keep its downloads in dir. Without a name: it does by itself.
	env Variable
}

// states returns what to build: the image, and what must succeed besides and is thrown away, or nil.
func (g *graph) states() (image llb.State, discarded *llb.State) {
	if g.revised {
		return g.revisedBuild()
	}
	return g.originalBuild()
}

// revisedBuild is the build of newer runtimes: build once in the build image, then copy /app into the
// smaller run image and prepare it there (developer guide, "Managed runtime versions and the App
// Runner build", revised build).
func (g *graph) revisedBuild() (image llb.State, discarded *llb.State) {
	built, installed := g.buildStage(g.image(g.base.build))
	run := g.image(g.base.run)
	ahead := 0
	if n := g.manifest.preRun; n > 0 { // installed from the manifests alone: sources may change behind it
		run = g.commands(g.copyManifests(run), "pre-run", g.plan.PreRun[:n], 0, len(g.plan.PreRun))
		ahead = n
	}
	switch {
	case g.manifest.build > 0 && g.manifest.build == len(g.plan.Build):
		// All that was done are installations, so that what they left and the sources are layers of
		// their own, and the first stays as it is when the sources change.
		run = g.copySources(copyApp(run, installed))
	default:
		run = copyApp(run, built)
	}
	run = g.commands(run, "pre-run", g.plan.PreRun[ahead:], ahead, len(g.plan.PreRun))
	return run, g.postBuild(built)
}

// originalBuild is the build of older runtimes: pre-build and build in the build image, then /app into
// the runtime's image, where build runs once more; what it installs there stays (developer guide, as
// above, original build). The two images are one here: the second build needs the compilers too.
func (g *graph) originalBuild() (image llb.State, discarded *llb.State) {
	built, _ := g.buildStage(g.image(g.base.build))
	run := copyApp(g.image(g.base.build), built)
	return g.commands(run, "build", g.plan.Build, 0, len(g.plan.Build)), g.postBuild(built)
}

// buildStage runs pre-build and build. installed is the state behind the commands that need no more
// than the manifests, with none of the other sources.
func (g *graph) buildStage(s llb.State) (built, installed llb.State) {
	n := g.manifest.build
	if n == 0 {
		s = g.copySources(s)
		s = g.commands(s, "pre-build", g.plan.PreBuild, 0, len(g.plan.PreBuild))
	} else {
		s = g.commands(g.copyManifests(s), "build", g.plan.Build[:n], 0, len(g.plan.Build))
		installed = s
		s = g.copySources(s)
	}
	return g.commands(s, "build", g.plan.Build[n:], n, len(g.plan.Build)), installed
}

// postBuild continues a build stage with commands whose results go no further than their success.
func (g *graph) postBuild(built llb.State) *llb.State {
	if len(g.plan.PostBuild) == 0 {
		return nil
	}
	s := g.commands(built, "post-build", g.plan.PostBuild, 0, len(g.plan.PostBuild))
	return &s
}

// image is a state that begins with an image of the store.
func (g *graph) image(name string) llb.State {
	s := llb.Image(name, llb.ResolveModePreferLocal, llb.WithCustomName("base image"))
	for _, env := range g.base.config.Env {
		if k, v, ok := strings.Cut(env, "="); ok {
			s = s.AddEnv(k, v)
		}
	}
	return s.AddEnv("HOME", "/root").Dir(g.workDir())
}

func (g *graph) workDir() string { return path.Join(appDir, g.plan.SourceDirectory) }

func (g *graph) source() llb.State {
	return llb.Local(sourceName, llb.SharedKeyHint(string(g.plan.Service)), llb.ExcludePatterns([]string{".git"}),
		llb.WithCustomName("source code"))
}

// copySources copies the repository but for what copyManifests has brought.
func (g *graph) copySources(s llb.State) llb.State {
	options := &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true, ExcludePatterns: g.manifest.files}
	return s.File(llb.Copy(g.source(), "/", appDir+"/", options), llb.WithCustomName("copy source code"))
}

// copyManifests copies only what dependencies are installed from.
func (g *graph) copyManifests(s llb.State) llb.State {
	options := &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true, IncludePatterns: g.manifest.files}
	return s.File(llb.Copy(g.source(), "/", appDir+"/", options), llb.WithCustomName("copy dependency lists"))
}

// copyApp copies all of /app from one state to another.
func copyApp(to, from llb.State) llb.State {
	options := &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true}
	return to.File(llb.Copy(from, appDir+"/", appDir+"/", options), llb.WithCustomName("copy /app"))
}

// commands runs shell lines, each in a shell of its own: nothing carries over but files. first and all
// say where they stand in their phase.
func (g *graph) commands(s llb.State, phase string, lines []string, first, all int) llb.State {
	for i, line := range lines {
		options := []llb.RunOption{
			llb.Args(startCommand(line)), llb.Dir(g.workDir()),
			llb.WithCustomName(step{phase: phase, number: first + i + 1, of: all, line: line}.String()),
			llb.AddEnv("npm_config_update_notifier", "false"), // it would be talking to the wrong one
			llb.AddSecret(caFile, llb.SecretID(caSecret), llb.SecretFileOpt(0, 0, 0o444), llb.SecretOptional),
		}
		if g.envMark != "" {
			options = append(options, llb.AddEnv("APRON_BUILD_ENV", g.envMark))
		}
		for _, name := range g.secrets {
			options = append(options, llb.AddSecretWithDest(name, nil, llb.SecretID(envSecret+name), llb.SecretAsEnvName(name)))
		}
		for _, c := range g.caches {
			options = append(options, g.mount(c))
			if c.env.Name != "" {
				options = append(options, llb.AddEnv(c.env.Name, c.env.Value))
			}
		}
		if g.offline {
			options = append(options, llb.Network(pb.NetMode_NONE))
		}
		s = s.Run(options...).Root()
	}
	return s
}

// mount gives a step a cache.
func (g *graph) mount(c cacheMount) llb.RunOption {
	if c.seed == "" {
		return llb.AddMount(c.dir, llb.Scratch(), c.option(g.plan.Service))
	}
	run := g.image(g.base.build).Dir("/").Run(llb.Args(startCommand(c.seed)), llb.WithCustomName("prepare cache "+c.kind))
	return llb.AddMount(c.dir, run.AddMount(c.dir, llb.Scratch()), c.option(g.plan.Service))
}

// marshal is what BuildKit is sent.
func marshal(ctx context.Context, s llb.State) (*llb.Definition, error) {
	def, err := s.Marshal(ctx, llb.Platform(platform()))
	if err != nil {
		return nil, fmt.Errorf("describe the build: %w", err)
	}
	return def, nil
}
