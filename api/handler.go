package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"apron"
	"apron/control"
	"apron/sigv4"
)

// maxBody is the largest request body: a map of environment variables may be large, since each
// value has up to 51200 characters.
const maxBody = 4 << 20

// Config is what a Handler needs. Every member is required unless it says otherwise.
type Config struct {
	// Control carries out the actions.
	Control *control.Control
	// Authenticate returns the access key of an id; ok is false when there is none. A disabled key
	// counts as none. It is called once per request and must be safe for concurrent use.
	Authenticate func(ctx context.Context, accessKeyID string) (key apron.AccessKey, ok bool, err error)
	// Used is told the access key of each request whose signature has been verified, which must not
	// take long and be safe for concurrent use. nil: nobody is told.
	Used        func(accessKeyID string)
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
	RequestID   func() string    // nil: random UUIDs
	BodyTimeout time.Duration    // for a client to send a whole body; 0: 20 s
}

// Handler serves the App Runner API, and what its users need of other services of AWS. It is safe
// for concurrent use.
type Handler struct {
	cfg       Config
	verify    sigv4.Verifier
	endpoints map[string]endpoint // by signing name
}

// endpoint is one service of AWS and how it is spoken to.
type endpoint struct {
	awsService
	contentType string // of its answers
}

// awsService is one service of AWS: the part of its protocol that differs from others, and its
// actions. All of them share one listener, on which the signing name of a request tells them apart.
type awsService interface {
	// head names the action that a request asks for by its head, empty for a protocol that names it
	// in the body. It refuses what no body could make a request of the service.
	head(r *http.Request) (action string, err error)
	// serve carries out a call and returns the body of the answer.
	serve(ctx context.Context, c *call) ([]byte, error)
	// refuse returns what a client is told of any error of a call, and the body that says so.
	refuse(c *call, err error) (answer, []byte)
}

// call is one request on its way through a Handler. What serve gets is complete and authenticated.
type call struct {
	id     string // of the request, for support
	action string // empty until it is known
	key    apron.AccessKey
	scope  apron.Scope
	body   []byte
}

// New returns a Handler for the requests IsAPI picks.
func New(cfg Config) *Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.RequestID == nil {
		cfg.RequestID = uuid.NewString
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = 20 * time.Second
	}
	return &Handler{cfg: cfg, endpoints: map[string]endpoint{
		appRunnerName: {newAppRunner(cfg.Control), jsonType},
		stsName:       {sts{}, xmlType},
		ExtensionName: {extension{cfg.Control}, jsonType},
	}}
}

// IsAPI reports whether a request on a listener shared with other parts is for a Handler: whatever
// names a target or is signed with SigV4, on any path and with any method.
func IsAPI(r *http.Request) bool {
	return len(r.Header["X-Amz-Target"]) > 0 || strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-")
}

// endpoint picks who is spoken to: the service a request says it is signed for. What says nothing
// readable is answered as App Runner does.
func (h *Handler) endpoint(r *http.Request) endpoint {
	name := appRunnerName
	if auth, err := sigv4.ParseAuthorization(r.Header.Get("Authorization")); err == nil {
		name = auth.Service
	}
	if e, ok := h.endpoints[name]; ok {
		return e
	}
	return endpoint{elsewhere{}, jsonType}
}

// ServeHTTP answers one request. Every answer has a request id, and every error the form that
// SDKs read (App Runner API reference, "Common Errors").
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, c, e := time.Now(), &call{id: h.cfg.RequestID()}, h.endpoint(r)
	w.Header().Set("x-amzn-RequestId", c.id)
	log := h.cfg.Log.With("request_id", c.id)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
				panic(p)
			}
			log.Error("request panicked", "err", p, "stack", string(debug.Stack()))
			e.tell(w, c, errPanic)
		}
	}()
	out, err := h.serve(w, r, e, c)
	if err != nil {
		a := e.tell(w, c, err)
		level := slog.LevelDebug
		if a.status == http.StatusInternalServerError {
			level = slog.LevelError
		}
		log.Log(r.Context(), level, "request refused", "action", c.action, "code", a.name, "err", redact(err), "took", time.Since(start))
		return
	}
	log.Debug("request served", "action", c.action, "took", time.Since(start))
	respond(w, http.StatusOK, e.contentType, out)
}

// serve goes through the checks in the order of the API reference: size, method and target,
// authentication, authorisation (every known key may do everything yet), then the action, which
// checks its input first.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, e endpoint, c *call) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, errTooLarge
	}
	var err error
	if c.action, err = e.head(r); err != nil {
		return nil, err
	}
	if c.body, err = h.read(w, r); err != nil {
		return nil, err
	}
	if err := h.authenticate(r, c); err != nil {
		return nil, err
	}
	return e.serve(r.Context(), c)
}

// read reads the body, bounded in size and time.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(h.cfg.BodyTimeout)) // fails only where there is no connection
	var buf []byte
	if r.ContentLength > 0 {
		buf = make([]byte, 0, min(r.ContentLength, 64<<10)+1) // a length that was only claimed costs little
	}
	body := io.LimitReader(r.Body, maxBody+1)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > maxBody:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			// Not lifted in the other cases: net/http goes on reading what is left of the body.
			_ = conn.SetReadDeadline(time.Time{})
			return buf, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.Header().Set("Connection", "close")
			return nil, errTooSlow
		case err != nil:
			return nil, errors.Join(errAborted, err)
		}
	}
}

// authenticate finds out who signed a request, and so in whose account and which region it acts.
func (h *Handler) authenticate(r *http.Request, c *call) error {
	lookup := func(ctx context.Context, id string) (string, bool, error) {
		key, ok, err := h.cfg.Authenticate(ctx, id)
		if err != nil || !ok || key.Disabled {
			return "", false, err
		}
		c.key = key
		return key.Secret, true, nil
	}
	who, err := h.verify.Verify(r.Context(), r, c.body, h.cfg.Now(), lookup)
	if err != nil {
		return err
	}
	if !apron.ValidRegion(who.Region) {
		return &sigv4.Error{Code: sigv4.InvalidSignature, Msg: "Credential should be scoped to a valid region."}
	}
	if h.cfg.Used != nil {
		h.cfg.Used(c.key.ID)
	}
	c.scope = apron.Scope{Account: c.key.Account, Region: who.Region}
	return nil
}

// tell answers a request with an error, and returns what the client was told.
func (e endpoint) tell(w http.ResponseWriter, c *call, err error) answer {
	a, body := e.refuse(c, err)
	if e.contentType == jsonType { // the query protocol has no such header
		w.Header().Set("X-Amzn-ErrorType", a.name)
	}
	respond(w, a.status, e.contentType, body)
	return a
}

func respond(w http.ResponseWriter, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // never HTML, see the type above; a client that went away does not hear from us
}

// redact keeps the values that constraint messages quote out of the log.
func redact(err error) string {
	if broken, ok := errors.AsType[*findings](err); ok {
		return strconv.Itoa(broken.n) + " constraints violated"
	}
	return err.Error()
}
