package builder

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"apron"
)

// Build builds a plan. log is called for every line of its output, in order, one call at a time, each
// with its [Build] prefix. What the user must change is an Invalid Fault with App Runner's words first;
// any other error may be gone when it is tried again. Building a plan again gives the same image in
// little time.
func (b *Builder) Build(ctx context.Context, p Plan, log func(line string)) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, b.cfg.Timeout,
		apron.Faultf(apron.Invalid, "%s Reason: The build took longer than %s.", failed, b.cfg.Timeout))
	defer cancel()
	if err := checkSource(&p); err != nil {
		return Result{}, err
	}
	result, suspect, err := b.attempt(ctx, p, log, together)
	if suspect {
		log("[Build] The builds under way have filled the disk together. This one begins again, without others beside it.")
		result, _, err = b.attempt(ctx, p, log, alone)
	}
	return result, err
}

// attempt builds once its turn has come. suspect: it was ended because the disk was filled, which may have
// been another's doing.
func (b *Builder) attempt(ctx context.Context, p Plan, log func(line string), turn int64) (result Result, suspect bool, err error) {
	if !b.turns.TryAcquire(turn) {
		log("[Build] Waiting for other builds.")
		if err := b.turns.Acquire(ctx, turn); err != nil {
			return Result{}, false, fmt.Errorf("wait for other builds: %w", context.Cause(ctx))
		}
	}
	defer b.turns.Release(turn)
	others := b.company.join()
	defer b.company.leave()
	ctx, unwatch := b.watchDisk(ctx)
	defer unwatch()
	defer b.sweep(context.WithoutCancel(ctx))
	if strings.EqualFold(p.Runtime, RuntimeDocker) {
		result, err = b.buildDockerfile(ctx, p, log)
	} else {
		result, err = b.buildManaged(ctx, p, log)
	}
	return result, errors.Is(err, errFilled) && others(), err
}

// checkSource makes the source directory a clean path below the repository, and refuses one that is
// not there or leads out of it.
func checkSource(p *Plan) error {
	asked := p.SourceDirectory
	if slices.Contains(strings.Split(asked, "/"), "..") {
		return apron.Faultf(apron.Invalid, "%s Reason: The source directory %s leads out of the repository.", failed, asked)
	}
	p.SourceDirectory = strings.TrimPrefix(path.Clean("/"+asked), "/")
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return fmt.Errorf("open source code: %w", err)
	}
	defer root.Close()
	st, err := root.Stat(filepath.FromSlash(path.Join(".", p.SourceDirectory)))
	if err != nil || !st.IsDir() {
		return apron.Faultf(apron.Invalid, "%s Reason: The source directory %s is not in the repository.", failed, asked)
	}
	return nil
}

// buildManaged builds for a managed runtime.
func (b *Builder) buildManaged(ctx context.Context, p Plan, log func(line string)) (Result, error) {
	m, err := findRuntime(p.Runtime)
	if err != nil {
		return Result{}, notSupported(err)
	}
	if !m.revised && len(p.PreRun) > 0 {
		return Result{}, apron.Faultf(apron.Invalid, "%s Reason: The runtime %s has no 'pre-run' commands.", failed, m.id)
	}
	say := func(line string) { log("[Build] " + line) }
	base, err := b.base(ctx, m, p.RuntimeVersion, say)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return Result{}, fmt.Errorf("base image for %s: %w", m.id, notSupported(err))
	}
	say(fmt.Sprintf("Runtime: %s %s, from %s.", m.language, base.version, base.origin))
	for _, n := range base.notes {
		say(n)
	}
	g, r, err := b.graphOf(p, m, base, log)
	if err != nil {
		return Result{}, err
	}
	image, discarded := g.states()
	if discarded != nil { // first: no image of a build that fails
		if _, err := b.run(ctx, r, *discarded, "", nil); err != nil {
			return Result{}, err
		}
	}
	name := builtName(string(p.Service), string(p.Revision))
	digest, err := b.run(ctx, r, image, name, g.config())
	if err != nil {
		return Result{}, err
	}
	return Result{
		Image:          apron.Image{Reference: imageHost + string(p.Service) + "@" + digest, Digest: digest},
		RuntimeVersion: base.version, Base: base.origin, Warnings: base.notes,
	}, nil
}

// notSupported puts the words in front with which App Runner says in a deployment that there is no such
// version.
func notSupported(err error) error {
	if f := new(apron.Fault); errors.As(err, &f) && strings.HasPrefix(f.Msg, unsupported) {
		return &apron.Fault{Kind: f.Kind, Msg: failed + " Reason: " + f.Msg, Err: f.Err}
	}
	return err
}

// graphOf puts together what is built and what it needs.
func (b *Builder) graphOf(p Plan, m managed, base baseImages, log func(string)) (*graph, request, error) {
	root, err := os.OpenRoot(filepath.Join(p.Dir, filepath.FromSlash(p.SourceDirectory)))
	if err != nil {
		return nil, request{}, fmt.Errorf("open source code: %w", err)
	}
	defer root.Close()
	g := &graph{
		plan: p, base: base, revised: m.revised, offline: b.cfg.NoEgress,
		caches: cacheMounts(m.language, p.Command), manifest: findManifest(m.language, root.FS(), p),
	}
	r := request{dir: p.Dir, printer: newPrinter(log), memory: memoryWords()}
	r.secrets, g.secrets, g.envMark = b.secretsOf(p)
	return g, r, nil
}

// run has one state built; with a name, it becomes an image under it and the digest is returned.
func (b *Builder) run(ctx context.Context, r request, s llb.State, name string, config *ocispec.Image) (string, error) {
	def, err := marshal(ctx, s)
	if err != nil {
		return "", err
	}
	opt, err := r.options(nil)
	if err != nil {
		return "", err
	}
	if name != "" {
		export, err := exportTo(name, config)
		if err != nil {
			return "", err
		}
		opt.Exports = append(opt.Exports, export)
	}
	resp, err := b.solve(ctx, r, def, opt)
	if err != nil {
		return "", err
	}
	return resp[exptypes.ExporterImageDigestKey], nil
}

// config is the configuration of the built image: the base image's, without anything of the build.
func (g *graph) config() *ocispec.Image {
	c := ocispec.ImageConfig{
		Env: slices.Clone(g.base.config.Env), WorkingDir: g.workDir(), Cmd: startCommand(g.plan.Command), StopSignal: g.base.config.StopSignal,
	}
	if g.plan.Port != 0 {
		c.ExposedPorts = map[string]struct{}{fmt.Sprintf("%d/tcp", g.plan.Port): {}}
	}
	epoch := time.Unix(0, 0).UTC() // the same build gives the same image
	return &ocispec.Image{Created: &epoch, Platform: platform(), Config: c, RootFS: ocispec.RootFS{Type: "layers"}}
}

// seal returns what changes when one of the values does, and tells nobody anything else about them.
func (b *Builder) seal(values ...string) string {
	h := hmac.New(sha256.New, b.sealing)
	for _, v := range values {
		fmt.Fprintf(h, "%d:%s", len(v), v)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// sealingKey finds or makes the key of seal.
func sealingKey(dir string) ([]byte, error) {
	name := filepath.Join(dir, "seal.key")
	if key, err := os.ReadFile(name); err == nil && len(key) == sha256.Size {
		return key, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the builder's directory: %w", err)
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(name, key, 0o600); err != nil {
		return nil, fmt.Errorf("write the builder's key: %w", err)
	}
	return key, nil
}
