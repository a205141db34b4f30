package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"apron"
	"apron/builder"
	"apron/source"
	"apron/store"
)

// Builder makes an image of a source tree; the engine has it afterwards. It calls log for each line of
// output. It returns an Invalid Fault for what the user can mend. builder.Builder is the real one.
type Builder interface {
	Build(ctx context.Context, plan builder.Plan, log func(line string)) (builder.Result, error)
}

// BuildTime is how much longer than Deadline says an operation may take that builds source code.
const BuildTime = builder.DefaultTimeout

// unreachableTries is how often a repository that cannot be reached is tried before the deployment
// fails.
const unreachableTries = 3

// build fetches the newest commit of a service's branch and has it built, unless the revision came
// with its image. What it fetched is removed again: the image is all that is needed from here on.
func (d *deployer) build(ctx context.Context, op apron.Operation) error {
	svc, rev, err := d.revision(ctx, op)
	if err != nil || rev.Config.Source.Code == nil || !rev.Image.IsZero() {
		return err
	}
	if d.Builder == nil || d.Git == nil {
		return apron.Faultf(apron.Invalid, "Building from source code is not available on this server.")
	}
	dir, err := d.checkout(rev.ID)
	if err != nil {
		return err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			d.Log.Error("remove source code", "service", op.Service, "operation", op.ID, "err", err)
		}
	}()
	commit, version, err := d.pull(ctx, op, svc, rev, dir)
	if err != nil {
		return err
	}
	c, err := d.configuration(op, rev, dir)
	if err != nil {
		return err
	}
	result, err := d.compile(ctx, op, svc, rev, dir, c)
	if err != nil {
		return err
	}
	return d.Store.Tx(ctx, func(tx *store.Tx) error {
		err := tx.SetRevisionBuild(ctx, rev.ID, result.Image, apron.Build{
			Commit: commit, Version: version, RuntimeVersion: result.RuntimeVersion, Run: c.Run,
		})
		if err != nil {
			return err
		}
		return tx.NoteVersion(ctx, svc.ID, version)
	})
}

// checkout makes an empty directory for the revision's source code. One that a crash has left goes.
func (d *deployer) checkout(id apron.RevisionID) (string, error) {
	dir := filepath.Join(d.Checkouts, string(id))
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return "", fmt.Errorf("make directory for source code: %w", err)
	}
	return dir, nil
}

// pull fetches the branch's newest commit into dir.
func (d *deployer) pull(ctx context.Context, op apron.Operation, svc apron.Service, rev apron.Revision, dir string) (commit, version string, err error) {
	code := rev.Config.Source.Code
	d.events(op, fmt.Sprintf("Pulling source code from %s Repository ( %s ).", provider(code.URL), code.URL))
	commit, version, warnings, err := d.fetch(ctx, svc, rev, dir)
	if err != nil {
		return "", "", notPulled(op, err)
	}
	d.events(op, "Successfully pulled your application source code.")
	d.detail(op, fmt.Sprintf("Commit: %s, branch %s.", commit, code.Branch))
	for _, w := range warnings {
		d.detail(op, w+".")
	}
	return commit, version, nil
}

func (d *deployer) fetch(ctx context.Context, svc apron.Service, rev apron.Revision, dir string) (commit, version string, warnings []string, err error) {
	repo, err := d.repository(ctx, svc.Scope, rev.Config.Source)
	if err != nil {
		return "", "", nil, err
	}
	tree, err := d.Git.Fetch(ctx, repo)
	if err != nil {
		return "", "", nil, err
	}
	defer tree.Close()
	if version, err = tree.Version(ctx, rev.Config.Source.Code.SourceDirectory); err != nil {
		return "", "", nil, err
	}
	warnings, err = tree.Export(ctx, dir)
	return tree.Commit, version, warnings, err
}

// repository is the branch a service is built from, with what opens it.
func (d *deployer) repository(ctx context.Context, scope apron.Scope, s apron.SourceConfiguration) (source.GitRepository, error) {
	repo := source.GitRepository{Account: scope.Account, URL: s.Code.URL, Branch: s.Code.Branch}
	if s.ConnectionARN == "" || d.Credential == nil {
		return repo, nil
	}
	var err error
	if repo.Credential, err = d.Credential(ctx, s.ConnectionARN); err != nil {
		return source.GitRepository{}, fmt.Errorf("credential of connection: %w", err)
	}
	return repo, nil
}

// notPulled puts App Runner's words first. A repository that could not be reached is tried again, a few
// times.
func notPulled(op apron.Operation, err error) error {
	const failed = "Failed to pull your application source code."
	var f *apron.Fault
	switch {
	case errors.As(err, &f):
		return &apron.Fault{Kind: f.Kind, Msg: failed + " Reason: " + f.Msg, Err: err}
	case errors.Is(err, source.ErrUnreachable) && op.Attempt >= unreachableTries:
		return &apron.Fault{Kind: apron.Invalid, Msg: failed + " Reason: The repository cannot be reached.", Err: err}
	default:
		return err
	}
}

// provider is App Runner's name for where a repository is.
func provider(address string) string {
	u, err := url.Parse(address)
	switch {
	case err == nil && u.Hostname() == "github.com":
		return "GITHUB"
	case err == nil && u.Hostname() == "bitbucket.org":
		return "BITBUCKET"
	default:
		return "GIT"
	}
}

// compile has the source code built and tells how that goes.
func (d *deployer) compile(
	ctx context.Context, op apron.Operation, svc apron.Service, rev apron.Revision, dir string, c source.Configuration,
) (builder.Result, error) {
	d.events(op, "Starting source code build.")
	sub, err := source.CleanDirectory(rev.Config.Source.Code.SourceDirectory)
	if err != nil {
		return builder.Result{}, err
	}
	plan := builder.Plan{
		Service: svc.ID, Revision: rev.ID, Scope: svc.Scope, Dir: dir, SourceDirectory: sub,
		Runtime: c.Runtime, RuntimeVersion: c.RuntimeVersion,
		PreBuild: c.PreBuild, Build: c.Build, PostBuild: c.PostBuild, PreRun: c.PreRun,
		Command: c.Run.StartCommand, Dockerfile: c.Dockerfile, Port: c.Run.PortNumber(),
	}
	for _, v := range c.BuildEnv {
		plan.BuildEnv = append(plan.BuildEnv, builder.Variable(v))
	}
	result, err := d.Builder.Build(ctx, plan, func(line string) { d.output(op, line) })
	if err != nil {
		return builder.Result{}, fmt.Errorf("build source code: %w", d.passing(op, err))
	}
	for _, w := range result.Warnings {
		d.detail(op, w)
	}
	d.events(op, "Successfully built your application source code.")
	return result, nil
}

// configuration returns how to build and run what is in dir: from the file in the source directory or
// from the API, as the service wants, all of one and nothing of the other.
func (d *deployer) configuration(op apron.Operation, rev apron.Revision, dir string) (source.Configuration, error) {
	code, dockerfile := rev.Config.Source.Code, rev.Config.Extensions.Dockerfile
	text, readErr := readConfiguration(dir, code.SourceDirectory)
	var c source.Configuration
	switch {
	case code.ConfigurationSource == apron.ConfigurationFromAPI:
		if readErr == nil {
			d.detail(op, "There is an apprunner.yaml, which is not read: ConfigurationSource is API.")
		}
		c = fromAPI(*code)
	case dockerfile != "" && errors.Is(readErr, fs.ErrNotExist):
		c.Run.Port = "8080"
	default:
		d.events(op, "Reading apprunner.yaml config file.")
		if readErr != nil {
			return c, noConfiguration(code.SourceDirectory, dir, readErr)
		}
		var problems source.Problems
		c, problems = source.ParseConfiguration(text)
		for _, p := range problems {
			d.detail(op, source.ConfigurationName+", "+p.String()+".")
		}
		if err := problems.Err(); err != nil {
			return c, err
		}
		d.events(op, "Successfully validate configuration file.")
	}
	if dockerfile != "" { // the tag wins
		c.Runtime, c.Dockerfile = source.RuntimeDocker, dockerfile
	}
	if len(c.Run.Secrets) > 0 {
		return c, noSecrets()
	}
	return c, nil
}

// noSecrets refuses what cannot be given to an application yet.
func noSecrets() error {
	return apron.Faultf(apron.Invalid, "Secrets (RuntimeEnvironmentSecrets) are not available yet in this version of Apron.")
}

// fromAPI is the configuration that CodeConfigurationValues makes. Variables of the API are for the
// running application alone.
func fromAPI(code apron.CodeRepository) source.Configuration {
	var c source.Configuration
	if v := code.Values; v != nil {
		c.Runtime, c.Run = source.RuntimeFromAPI(v.Runtime), v.Run
		if v.BuildCommand != "" {
			c.Build = []string{v.BuildCommand}
		}
	}
	return c
}

// maxConfigurationBytes is more than source.ParseConfiguration takes.
const maxConfigurationBytes = 1 << 20

// readConfiguration reads the configuration file of a source directory below dir, wherever a link of
// the repository leads inside it and nowhere outside. fs.ErrNotExist: there is none.
func readConfiguration(dir, sub string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if sub, err = source.CleanDirectory(sub); err != nil {
		return nil, err
	}
	name := path.Join(sub, source.ConfigurationName)
	st, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxConfigurationBytes {
		return nil, errors.New("it is no file of a reasonable size")
	}
	return root.ReadFile(name)
}

// noConfiguration says why there is no configuration file to read.
func noConfiguration(sub, dir string, err error) error {
	why := "it cannot be read"
	if errors.Is(err, fs.ErrNotExist) {
		why = "there is no apprunner.yaml in the source directory " + sub
		clean, cleanErr := source.CleanDirectory(sub)
		if _, other := os.Lstat(filepath.Join(dir, clean, "apprunner.yml")); cleanErr == nil && other == nil {
			why += "; a file apprunner.yml is there, but that name is not read"
		}
	}
	return &apron.Fault{Kind: apron.Invalid, Msg: "Failed to validate configuration file: " + why + ".", Err: err}
}
