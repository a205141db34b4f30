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
	"apron/sigv4"
)

const (
	contentType  = "application/x-amz-json-1.0"
	targetPrefix = "AppRunner."
	signingName  = "apprunner"

	// maxBody is the largest request body: a map of environment variables may be large, since each
	// value has up to 51200 characters.
	maxBody = 4 << 20
)

// Config is what a Handler needs. Every member is required unless it says otherwise.
type Config struct {
	// Control carries out the actions: a *control.Control.
	Control services
	// Authenticate returns the access key of an id; ok is false when there is none. A disabled key
	// counts as none. It is called once per request and must be safe for concurrent use.
	Authenticate func(ctx context.Context, accessKeyID string) (key apron.AccessKey, ok bool, err error)
	Log          *slog.Logger
	Now          func() time.Time // nil: time.Now
	RequestID    func() string    // nil: random UUIDs
	BodyTimeout  time.Duration    // for a client to send a whole body; 0: 20 s
}

// Handler serves the App Runner API. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	verify  sigv4.Verifier
	actions map[string]action
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
	h := &Handler{cfg: cfg}
	h.actions = h.table()
	return h
}

// IsAPI reports whether a request on a listener shared with other parts is for a Handler: whatever
// names a target or is signed with SigV4, on any path and with any method.
func IsAPI(r *http.Request) bool {
	return len(r.Header["X-Amz-Target"]) > 0 || strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-")
}

// ServeHTTP answers one request. Every answer has a request id, and every error the form that
// SDKs read (App Runner API reference, "Common Errors").
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start, id := time.Now(), h.cfg.RequestID()
	w.Header().Set("x-amzn-RequestId", id)
	log := h.cfg.Log.With("request_id", id)
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it the same way
				panic(p)
			}
			log.Error("request panicked", "err", p, "stack", string(debug.Stack()))
			refuse(w, internal())
		}
	}()
	m, out, err := h.serve(w, r)
	if err != nil {
		var set exceptions
		if m != nil {
			set = m.errors
		}
		a := explain(err, set)
		level := slog.LevelDebug
		if a.status == http.StatusInternalServerError {
			level = slog.LevelError
		}
		log.Log(r.Context(), level, "request refused", "action", m.String(), "code", a.name, "err", redact(err), "took", time.Since(start))
		refuse(w, a)
		return
	}
	log.Debug("request served", "action", m.String(), "took", time.Since(start))
	respond(w, http.StatusOK, out)
}

// serve goes through the checks in the order of the API reference: size, method and target,
// authentication, authorisation (every known key may do everything yet), then the action, which
// checks its input first.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (m *model, out []byte, err error) {
	if r.ContentLength > maxBody {
		return nil, nil, errTooLarge
	}
	if m = target(r); m == nil {
		return nil, nil, errUnknownOperation
	}
	body, err := h.read(w, r)
	if err != nil {
		return m, nil, err
	}
	scope, err := h.authenticate(r, body)
	if err != nil {
		return m, nil, err
	}
	out, err = h.actions[m.name](r.Context(), scope, body)
	return m, out, err
}

// target returns the action a request names, or nil.
func target(r *http.Request) *model {
	values := r.Header["X-Amz-Target"]
	if r.Method != http.MethodPost || len(values) != 1 {
		return nil
	}
	name, ok := strings.CutPrefix(values[0], targetPrefix)
	if !ok {
		return nil
	}
	return models[name]
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
func (h *Handler) authenticate(r *http.Request, body []byte) (apron.Scope, error) {
	var account string
	lookup := func(ctx context.Context, id string) (string, bool, error) {
		key, ok, err := h.cfg.Authenticate(ctx, id)
		if err != nil || !ok || key.Disabled {
			return "", false, err
		}
		account = key.Account
		return key.Secret, true, nil
	}
	who, err := h.verify.Verify(r.Context(), r, body, h.cfg.Now(), lookup)
	if err != nil {
		return apron.Scope{}, err
	}
	if who.Service != signingName { // other services of AWS would be told apart here
		return apron.Scope{}, errWrongService
	}
	return apron.Scope{Account: account, Region: who.Region}, nil
}

// refuse writes an error. Code look-up differs between SDKs: botocore reads __type alone, the Go
// SDK prefers the header.
func refuse(w http.ResponseWriter, a answer) {
	body, err := encode(struct {
		Type    string `json:"__type"`
		Message string
	}{a.name, clip(a.msg)})
	if err != nil { // two strings: cannot happen
		body = []byte("{}")
	}
	w.Header().Set("X-Amzn-ErrorType", a.name)
	respond(w, a.status, body)
}

func respond(w http.ResponseWriter, status int, body []byte) {
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

// String returns the action's name, for logs; nil is no action.
func (m *model) String() string {
	if m == nil {
		return ""
	}
	return m.name
}
