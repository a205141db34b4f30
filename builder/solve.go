package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"apron"
)

// Where build steps find the certificate authorities this machine trusts, and the ids of secrets.
const (
	caFile    = "/run/apron/ca-certificates.crt"
	caSecret  = "ca"
	envSecret = "env."
)

// failed is App Runner's text for a build that did not succeed.
const failed = "Failed to build your application source code."

// request is what all solves of one build share.
type request struct {
	dir     string            // source tree
	secrets map[string][]byte // by id
	printer *printer          // tells the user, over all solves
	memory  string            // in words, for a step that had too little
	// dockerfile: the user has written the whole build, so that whatever it fails of is theirs to mend.
	dockerfile bool
}

// options are those of a solve. export is nil for one whose result is thrown away.
func (r request) options(export *client.ExportEntry) (client.SolveOpt, error) {
	source, err := fsutil.NewFS(r.dir)
	if err != nil {
		return client.SolveOpt{}, fmt.Errorf("read source code: %w", err)
	}
	opt := client.SolveOpt{
		LocalMounts: map[string]fsutil.FS{sourceName: source},
		Session:     []session.Attachable{secretsprovider.FromMap(r.secrets)},
	}
	if export != nil {
		opt.Exports = []client.ExportEntry{*export}
	}
	return opt, nil
}

// exportTo asks for an image under a name in the engine's store, unpacked: ready to be started.
func exportTo(name string, config *ocispec.Image) (client.ExportEntry, error) {
	attrs := map[string]string{
		"name": name, "store": "true", "unpack": "true", "push": "false",
		"oci-mediatypes": "true", "compression": "zstd", "compression-level": "1",
	}
	if config != nil {
		b, err := json.Marshal(config)
		if err != nil {
			return client.ExportEntry{}, fmt.Errorf("encode image configuration: %w", err)
		}
		attrs["containerimage.config"] = string(b)
	}
	return client.ExportEntry{Type: client.ExporterImage, Attrs: attrs}, nil
}

// solve has BuildKit do one build and tells the log what it says. The response holds the digest.
func (b *Builder) solve(ctx context.Context, r request, def *llb.Definition, opt client.SolveOpt) (map[string]string, error) {
	// Not before a build: the first connection is what has the engine make the builder.
	cl, err := client.New(ctx, "unix://"+b.cfg.Builds)
	if err != nil {
		return nil, fmt.Errorf("reach the builder: %w", err)
	}
	defer cl.Close()
	p := r.printer
	status := make(chan *client.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range status {
			p.print(s)
		}
		p.flush()
	}()
	resp, err := cl.Solve(ctx, def, opt, status) // closes status
	<-done
	if err != nil {
		return nil, explain(ctx, err, p, r)
	}
	return resp.ExporterResponse, nil
}

// explain tells what the user must change from what may pass by itself.
func explain(ctx context.Context, err error, p *printer, r request) error {
	if cause := context.Cause(ctx); cause != nil {
		if apron.KindOf(cause) != 0 {
			return cause
		}
		return fmt.Errorf("build: %w", cause)
	}
	exit, ended := errors.AsType[*gateway.ExitError](err)
	if s, ok := p.failed(); ok && ended {
		if r.dockerfile {
			s.phase = "build"
		}
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: s.reason(int(exit.ExitCode), p.tail(), r.memory)}
	}
	if r.dockerfile && !away(err) {
		return &apron.Fault{Kind: apron.Invalid, Err: err, Msg: fmt.Sprintf("%s Reason: Failed to execute 'build' command. %s", failed, lastCause(err))}
	}
	return fmt.Errorf("build: %w", err)
}

// away reports whether the builder could not be reached, or went away during the build.
func away(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Canceled || errors.Is(err, context.Canceled)
}

// byTheWay is what BuildKit says before the cause: nothing that the user knows or can look at.
var byTheWay = regexp.MustCompile(`failed to (solve|compute cache key|calculate checksum of ref \S+): `)

// lastCause returns what an error says without the steps it came by.
func lastCause(err error) string {
	text := byTheWay.ReplaceAllString(err.Error(), "")
	return text[:min(len(text), 500)]
}

// reason is App Runner's text, and what it leaves out.
func (s step) reason(code int, tail []string, memory string) string {
	msg := fmt.Sprintf("%s Reason: Failed to execute '%s' command.", failed, s.phase)
	if s.of > 1 {
		msg += fmt.Sprintf(" Command %d of %d", s.number, s.of)
	} else {
		msg += " The command"
	}
	const killed = 137 // 128 + SIGKILL
	if code == killed {
		msg += fmt.Sprintf(" was killed (exit code %d), most likely for want of memory: %s", code, memory)
	} else {
		msg += fmt.Sprintf(" ended with exit code %d", code)
	}
	if len(tail) > 0 {
		msg += ". Its output ends with: " + strings.Join(tail, " | ")
	}
	return msg
}

// secretsOf are the values steps get that become no part of anything that is kept: variables of the
// build, and this machine's certificate authorities.
func (b *Builder) secretsOf(p Plan) (secrets map[string][]byte, names []string, mark string) {
	secrets = map[string][]byte{}
	var marked []string
	set := func(v Variable) {
		if _, twice := secrets[envSecret+v.Name]; !twice {
			names = append(names, v.Name)
		}
		secrets[envSecret+v.Name] = []byte(v.Value)
	}
	if pem := authorities(); len(pem) > 0 {
		secrets[caSecret] = pem
		for _, name := range []string{
			"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "BUNDLE_SSL_CA_CERT",
		} {
			set(Variable{Name: name, Value: caFile})
		}
	}
	for _, v := range b.cfg.Env {
		set(v)
	}
	for _, v := range p.BuildEnv {
		set(v)
		marked = append(marked, v.Name, v.Value)
	}
	if len(marked) > 0 {
		mark = b.seal(marked...)
	}
	return secrets, names, mark
}

// memoryWords says how much memory builds have, for the reason of a step that was killed.
func memoryWords() string { return "all builds together have three quarters of the machine's" }
