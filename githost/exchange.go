package githost

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// exchange is one request for one repository.
type exchange struct {
	host     *Host
	account  string
	name     string
	dir      string
	service  string // git-upload-pack or git-receive-pack
	refs     bool   // the request is for the advertisement of refs
	protocol string // Git-Protocol, vetted; empty: version 0
}

var gitProtocol = regexp.MustCompile(`^[a-z0-9=:.-]{1,100}$`)

// parse says what a request wants. ok is false when it is none of the smart protocol's.
func parse(req *http.Request) (x *exchange, ok bool) {
	at := strings.LastIndexByte(req.URL.Path, '/')
	repository, action := req.URL.Path[:max(at, 0)], req.URL.Path[at+1:]
	x = &exchange{service: action}
	switch {
	case req.Method == http.MethodGet && action == "refs" && strings.HasSuffix(repository, "/info"):
		repository = strings.TrimSuffix(repository, "/info")
		x.service, x.refs = req.URL.Query().Get("service"), true
	case req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/x-"+action+"-request":
		return nil, false
	}
	if x.service != "git-upload-pack" && x.service != "git-receive-pack" {
		return nil, false
	}
	if p := req.Header.Get("Git-Protocol"); gitProtocol.MatchString(p) {
		x.protocol = p
	}
	x.name, ok = Name(repository)
	return x, ok
}

func (x *exchange) writes() bool { return x.service == "git-receive-pack" }

// admit says whether there is a repository to speak to, which a client that pushes gets made.
func (x *exchange) admit(ctx context.Context) (status int, err error) {
	if x.host.Exists(x.account, x.name) {
		if x.writes() && x.host.size(x.account, x.name) > x.host.cfg.MaxBytes {
			x.host.tidy(x.dir, "--prune=1.hour.ago")
			return http.StatusForbidden, fmt.Errorf("the repository %s is full: it takes more than %d MiB; what no branch has needed for an hour is being removed",
				x.name, x.host.cfg.MaxBytes>>20)
		}
		return 0, nil
	}
	if !x.writes() {
		return http.StatusNotFound, fmt.Errorf("there is no repository %s; a first push creates it", x.name)
	}
	if err := x.host.create(ctx, x.account, x.name); err != nil {
		if errors.Is(err, errTooMany) {
			return http.StatusForbidden, fmt.Errorf("the account has %d repositories, which is as many as it may", x.host.cfg.MaxRepositories)
		}
		return http.StatusInternalServerError, err
	}
	return 0, nil
}

// Bounds of one exchange.
const (
	stallTimeout   = 2 * time.Minute  // without a byte in either direction
	receiveTimeout = 30 * time.Minute // for all of a push
	maxNegotiation = 32 << 20         // bytes of a request that fetches
)

// serve has git answer the request.
func (x *exchange) serve(w http.ResponseWriter, req *http.Request) {
	kind := "result"
	if x.refs {
		kind = "advertisement"
	}
	w.Header().Set("Content-Type", "application/x-"+x.service+"-"+kind)
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	out := &flowing{ResponseController: http.NewResponseController(w), w: w}
	if x.refs {
		x.advertise(req.Context(), out)
		return
	}
	_ = out.EnableFullDuplex() // HTTP/2 always is
	body, err := x.body(w, req, out)
	if err != nil {
		http.Error(w, "The body is not what its header says.", http.StatusBadRequest)
		return
	}
	if !x.writes() {
		x.report(req.Context(), x.host.run(req.Context(), x.command("--stateless-rpc"), body, out))
		return
	}
	// A client that is gone after it has sent everything must not stop halfway what it has begun.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(req.Context()), receiveTimeout)
	defer cancel()
	x.report(ctx, x.receive(ctx, body, out))
}

// command is the git command of the exchange on its repository.
func (x *exchange) command(args ...string) command {
	return command{
		args: append(append([]string{strings.TrimPrefix(x.service, "git-")}, args...), x.dir), protocol: x.protocol,
		maxBytes: x.host.cfg.MaxBytes,
	}
}

// advertise sends the refs. In versions before 2 a line with the service goes ahead (gitprotocol-http,
// "smart clients").
func (x *exchange) advertise(ctx context.Context, out io.Writer) {
	if !strings.Contains(x.protocol, "version=2") || x.writes() {
		line := "# service=" + x.service + "\n"
		fmt.Fprintf(out, "%04x%s0000", len(line)+4, line)
	}
	x.report(ctx, x.host.run(ctx, x.command("--stateless-rpc", "--advertise-refs"), http.NoBody, out))
}

// report logs what the client can no longer be told with a status.
func (x *exchange) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		x.host.cfg.Log.WarnContext(ctx, "serve git", "account", x.account, "repository", x.name, "service", x.service, "err", err)
	}
}

// body returns what the client sends, unpacked and bounded.
func (x *exchange) body(w http.ResponseWriter, req *http.Request, flow *flowing) (io.Reader, error) {
	limit := int64(maxNegotiation)
	if x.writes() {
		limit = x.host.cfg.MaxBytes + 1<<20
	}
	var body io.Reader = &arriving{http.MaxBytesReader(w, req.Body, limit), flow}
	switch req.Header.Get("Content-Encoding") {
	case "":
		return body, nil
	case "gzip":
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			return nil, err
		}
		return io.LimitReader(unpacked, limit), nil
	default:
		return nil, errors.New("unknown encoding")
	}
}

// flowing is a response that is sent as it comes and ends when the client stops reading.
type flowing struct {
	*http.ResponseController
	w io.Writer
}

// Write is part of io.Writer.
func (f *flowing) Write(p []byte) (int, error) {
	_ = f.SetWriteDeadline(time.Now().Add(stallTimeout)) // a recorder in a test has none
	n, err := f.w.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// arriving is a request's body that ends when the client stops sending.
type arriving struct {
	r    io.Reader
	flow *flowing
}

// Read is part of io.Reader.
func (a *arriving) Read(p []byte) (int, error) {
	_ = a.flow.SetReadDeadline(time.Now().Add(stallTimeout))
	return a.r.Read(p)
}
