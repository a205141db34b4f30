package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	policy "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/tonistiigi/fsutil"

	"apron"
)

// maxDockerfile bounds a Dockerfile, as Docker does.
const maxDockerfile = 2 << 20

// buildDockerfile builds from the repository's own Dockerfile: an extension.
func (b *Builder) buildDockerfile(ctx context.Context, p Plan, log func(string)) (Result, error) {
	if len(p.PreBuild)+len(p.Build)+len(p.PostBuild)+len(p.PreRun) > 0 {
		log("[Build] Commands of apprunner.yaml are not run: the Dockerfile says what to do.")
	}
	text, dockerignore, err := readDockerfile(p)
	if err != nil {
		return Result{}, err
	}
	text, err = dropSyntax(text)
	if err != nil {
		return Result{}, err
	}
	names, err := imagesOf(text, p.BuildEnv)
	if err != nil {
		return Result{}, err
	}
	attrs := dockerfileAttrs(p)
	if b.cfg.NoEgress {
		attrs["force-network-mode"] = "none"
	}
	for _, name := range names {
		at, err := b.localImage(ctx, p.Scope, name)
		if err != nil {
			return Result{}, fmt.Errorf("fetch image %s: %w", name, err)
		}
		attrs["context:"+contextName(name)] = "docker-image://" + at
	}
	digest, err := b.solveDockerfile(ctx, p, text, dockerignore, attrs, log)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Image: apron.Image{Reference: imageHost + string(p.Service) + "@" + digest, Digest: digest},
		Base:  "the repository's Dockerfile",
	}, nil
}

// dockerfileAttrs are the settings of the frontend. Caches belong to the service alone, as in
// cacheMount.option; with the frontend's own names, all services would share them.
func dockerfileAttrs(p Plan) map[string]string {
	attrs := map[string]string{
		"filename": "Dockerfile", "image-resolve-mode": "local", "build-arg:BUILDKIT_CACHE_MOUNT_NS": string(p.Service),
	}
	for _, v := range p.BuildEnv {
		if !strings.HasPrefix(v.Name, "BUILDKIT_") { // these are settings, not arguments
			attrs["build-arg:"+v.Name] = v.Value
		}
	}
	return attrs
}

// solveDockerfile has the frontend build and returns the image's digest.
func (b *Builder) solveDockerfile(ctx context.Context, p Plan, text, dockerignore []byte, attrs map[string]string, log func(string)) (string, error) {
	dir, err := os.MkdirTemp(b.cfg.Dir, "dockerfile-")
	if err != nil {
		return "", fmt.Errorf("make place for the Dockerfile: %w", err)
	}
	defer os.RemoveAll(dir)
	err = os.WriteFile(filepath.Join(dir, "Dockerfile"), text, 0o600)
	if dockerignore != nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "Dockerfile.dockerignore"), dockerignore, 0o600))
	}
	if err != nil {
		return "", fmt.Errorf("make place for the Dockerfile: %w", err)
	}
	source, err := fsutil.NewFS(filepath.Join(p.Dir, filepath.FromSlash(p.SourceDirectory)))
	if err != nil {
		return "", fmt.Errorf("read source code: %w", err)
	}
	recipe, err := fsutil.NewFS(dir)
	if err != nil {
		return "", fmt.Errorf("read the Dockerfile: %w", err)
	}
	name := builtName(string(p.Service), string(p.Revision))
	export, err := exportTo(name, nil)
	if err != nil {
		return "", err
	}
	resp, err := b.solve(ctx, request{printer: newPrinter(log), memory: memoryWords(), dockerfile: true}, nil, client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: attrs, SharedKey: string(p.Service),
		LocalMounts:  map[string]fsutil.FS{"context": source, "dockerfile": recipe},
		Exports:      []client.ExportEntry{export},
		SourcePolicy: localOnly(),
	})
	if err != nil {
		return "", err
	}
	if p.Command == "" {
		return resp[exptypes.ExporterImageDigestKey], nil
	}
	digest, err := b.store.setCommand(ctx, name, startCommand(p.Command))
	if err != nil {
		return "", err
	}
	return digest, nil
}

// localOnly refuses what the builder itself would fetch, from where it can reach this machine's own
// services: also what a base image asks for with ONBUILD.
func localOnly() *policy.Policy {
	all := &policy.Policy{}
	for _, scheme := range []string{"http", "https", "git"} {
		all.Rules = append(all.Rules, &policy.Rule{
			Action:   policy.PolicyAction_DENY,
			Selector: &policy.Selector{Identifier: scheme + "://*", MatchType: policy.MatchType_WILDCARD},
		})
	}
	return all
}

// readDockerfile returns the Dockerfile and what leaves files out for it alone, or nil.
func readDockerfile(p Plan) (text, dockerignore []byte, err error) {
	name := p.Dockerfile
	if name == "" {
		name = "Dockerfile"
	}
	if !filepath.IsLocal(name) {
		return nil, nil, apron.Faultf(apron.Invalid, "%s Reason: The Dockerfile %s is not below the source directory.", failed, name)
	}
	root, err := os.OpenRoot(filepath.Join(p.Dir, filepath.FromSlash(p.SourceDirectory)))
	if err != nil {
		return nil, nil, fmt.Errorf("open source code: %w", err)
	}
	defer root.Close()
	tree := root.FS()
	at := path.Clean(filepath.ToSlash(name))
	st, err := fs.Stat(tree, at)
	switch {
	case err != nil || !st.Mode().IsRegular():
		return nil, nil, apron.Faultf(apron.Invalid, "%s Reason: There is no file %s in the source directory.", failed, name)
	case st.Size() > maxDockerfile:
		return nil, nil, apron.Faultf(apron.Invalid, "%s Reason: The file %s is too large for a Dockerfile.", failed, name)
	}
	if text, err = fs.ReadFile(tree, at); err != nil {
		return nil, nil, fmt.Errorf("read the Dockerfile: %w", err)
	}
	return text, read(tree, at+".dockerignore"), nil
}

// officialSyntax are frontends that need not be fetched: the builder has the same one, as new as it.
var officialSyntax = regexp.MustCompile(`^(docker\.io/)?docker/dockerfile(:[\w.-]+)?(@sha256:[0-9a-f]+)?$`)

// dropSyntax takes a # syntax line of Docker's own frontend out, and refuses any other: it would be a
// program from a registry that has the builder's rights.
func dropSyntax(text []byte) ([]byte, error) {
	syntax, _, at, ok := parser.DetectSyntax(text)
	if !ok {
		return text, nil
	}
	if !officialSyntax.MatchString(syntax) || len(at) == 0 {
		return nil, apron.Faultf(apron.Invalid, "%s Reason: The Dockerfile asks for the frontend %s, and only docker/dockerfile is supported.", failed, syntax)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	if n := at[0].Start.Line; n >= 1 && n <= len(lines) {
		lines[n-1] = []byte("#\n") // an empty comment, so that lines keep their numbers
	}
	return bytes.Join(lines, nil), nil
}

// imagesOf returns the images a Dockerfile names: what its stages start from and what files are copied
// from, each once.
func imagesOf(text []byte, args []Variable) ([]string, error) {
	ast, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, badDockerfile(err)
	}
	stages, metaArgs, err := instructions.Parse(ast.AST, nil)
	if err != nil {
		return nil, badDockerfile(err)
	}
	lex := shell.NewLex(ast.EscapeToken)
	env := globalArgs(metaArgs, args, lex)
	found := imageList{stages: map[string]bool{}, seen: map[string]bool{}}
	for _, s := range stages {
		name, _, err := lex.ProcessWord(s.BaseName, env)
		if err != nil {
			return nil, badDockerfile(err)
		}
		found.add(name)
		for _, c := range s.Commands {
			if err := found.command(c, lex, env); err != nil {
				return nil, err
			}
		}
		if s.Name != "" {
			found.stages[strings.ToLower(s.Name)] = true
		}
	}
	return found.names, nil
}

func badDockerfile(err error) error {
	return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf("%s Reason: Failed to execute 'build' command. The Dockerfile is not valid: %v", failed, err)}
}

// variables is an environment for the words of a Dockerfile.
type variables map[string]string

// Get implements shell.EnvGetter.
func (v variables) Get(name string) (string, bool) { s, ok := v[name]; return s, ok }

// Keys implements shell.EnvGetter.
func (v variables) Keys() []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	return keys
}

// globalArgs returns the arguments that count in FROM lines.
func globalArgs(declared []instructions.ArgCommand, given []Variable, lex *shell.Lex) variables {
	env := variables{"TARGETPLATFORM": "linux/" + platform().Architecture, "BUILDPLATFORM": "linux/" + platform().Architecture, "TARGETOS": "linux", "TARGETARCH": platform().Architecture}
	for _, arg := range declared {
		for _, a := range arg.Args {
			if a.Value != nil {
				if v, _, err := lex.ProcessWord(*a.Value, env); err == nil {
					env[a.Key] = v
				}
			}
			for _, g := range given {
				if g.Name == a.Key {
					env[a.Key] = g.Value
				}
			}
		}
	}
	return env
}

// imageList collects names that are no stage's.
type imageList struct {
	names  []string
	stages map[string]bool // by name, in lower case
	seen   map[string]bool
}

var stageNumber = regexp.MustCompile(`^\d+$`)

func (l *imageList) add(name string) {
	if name == "" || name == "scratch" || stageNumber.MatchString(name) || l.stages[strings.ToLower(name)] || l.seen[name] {
		return
	}
	l.seen[name] = true
	l.names = append(l.names, name)
}

// mountFrom finds the source of a RUN --mount.
var mountFrom = regexp.MustCompile(`--mount=\S*\bfrom=([^,\s]+)`)

func (l *imageList) command(c instructions.Command, lex *shell.Lex, env variables) error {
	switch c := c.(type) {
	case *instructions.CopyCommand:
		name, _, err := lex.ProcessWord(c.From, env)
		if err != nil {
			return badDockerfile(err)
		}
		l.add(name)
	case *instructions.RunCommand:
		for _, m := range mountFrom.FindAllStringSubmatch(c.String(), -1) {
			l.add(m[1])
		}
	case *instructions.AddCommand:
		for _, source := range c.SourcePaths {
			if remote.MatchString(source) {
				return apron.Faultf(apron.Invalid, "%s Reason: Failed to execute 'build' command. ADD of %s: the builder fetches nothing itself; use RUN curl or RUN git clone.", failed, source)
			}
		}
	}
	return nil
}

// remote recognises sources of ADD that are fetched from elsewhere.
var remote = regexp.MustCompile(`^(https?|git|ssh)://|^git@|\.git(#.*)?$`)

// contextName is how the frontend looks an image up among the contexts it is given.
func contextName(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest")
}

// localImage returns the name, in the engine's store, of an image a Dockerfile names: a base image of
// the managed runtimes, or what a registry has.
func (b *Builder) localImage(ctx context.Context, scope apron.Scope, name string) (string, error) {
	if strings.HasPrefix(name, imageHost+"base/") && b.present(ctx, name) {
		return name, nil
	}
	if b.cfg.Fetch == nil {
		return "", apron.Faultf(apron.Invalid, "%s Reason: The image %s is not here, and no registry is configured.", failed, name)
	}
	return b.cfg.Fetch(ctx, scope, name)
}
