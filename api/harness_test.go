package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"apron"
	"apron/api"
	"apron/control"
	"apron/store"
	"apron/store/storetest"
)

const (
	account    = "123456789012"
	region     = "us-east-1"
	keyID      = "AKIAAPRONTESTAAAAAAA"
	secret     = "example/secret/of/forty/characters+00000"
	requestID  = "00000000-0000-4000-8000-000000000000"
	missingARN = "arn:aws:apprunner:us-east-1:123456789012:service/none/0123456789abcdef0123456789abcdef"
)

// epoch is when tests begin.
var epoch = time.Date(2026, 3, 14, 15, 9, 26, 535e6, time.UTC)

// front is an API on a real control and a real store, and a clock that stands still.
type front struct {
	*api.Handler
	store   *store.Store
	control *control.Control
	log     *lines

	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newFront(t testing.TB, edit ...func(*api.Config)) *front {
	t.Helper()
	f := &front{now: epoch, log: &lines{}}
	f.store = storetest.Open(t, store.WithNow(f.clock))
	f.control = control.New(control.Config{
		Store: f.store, Domain: "example.com", Wake: func() {}, Now: f.clock,
		Deadline: func(apron.OperationType) time.Duration { return time.Hour },
		Quotas:   apron.DefaultQuotas(), SimulateValidation: true,
	})
	cfg := api.Config{
		Control:      f.control,
		Authenticate: authenticate,
		Log:          slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:          f.clock,
		RequestID:    func() string { return requestID },
	}
	for _, e := range edit {
		e(&cfg)
	}
	f.Handler = api.New(cfg)
	return f
}

func authenticate(_ context.Context, id string) (apron.AccessKey, bool, error) {
	switch id {
	case keyID:
		return apron.AccessKey{ID: id, Secret: secret, Account: account}, true, nil
	case "AKIADISABLED":
		return apron.AccessKey{ID: id, Secret: secret, Account: account, Disabled: true}, true, nil
	case "AKIAOTHERACCOUNT":
		return apron.AccessKey{ID: id, Secret: secret, Account: "210987654321"}, true, nil
	case "AKIABROKENSTORE":
		return apron.AccessKey{}, false, context.DeadlineExceeded
	}
	return apron.AccessKey{}, false, nil
}

// asUser knows the one key as that of a user.
func asUser(_ context.Context, id string) (apron.AccessKey, bool, error) {
	return apron.AccessKey{ID: id, Secret: secret, Account: account, Principal: "arn:aws:iam::123456789012:user/someone"}, id == keyID, nil
}

func (f *front) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *front) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// call sends a signed request without a network and returns the answer.
func (f *front) call(t testing.TB, action, body string, edit ...func(*signing)) *httptest.ResponseRecorder {
	t.Helper()
	s := signing{
		key: keyID, region: region, service: "apprunner", at: f.clock(),
		r: httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(body)),
	}
	s.r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	s.r.Header.Set("X-Amz-Target", "AppRunner."+action)
	for _, e := range edit {
		e(&s)
	}
	sign(t, s, body)
	w := httptest.NewRecorder()
	f.ServeHTTP(w, s.r)
	return w
}

// signing is how a request is going to be signed.
type signing struct {
	r                    *http.Request
	key, region, service string
	at                   time.Time
}

func sign(t testing.TB, s signing, body string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	creds := aws.Credentials{AccessKeyID: s.key, SecretAccessKey: secret}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, s.r, hex.EncodeToString(sum[:]), s.service, s.region, s.at); err != nil {
		t.Fatal(err)
	}
}

// problem is an error as a client reads it.
type problem struct {
	Type    string `json:"__type"`
	Message string
}

func problemOf(t testing.TB, w *httptest.ResponseRecorder) problem {
	t.Helper()
	var p problem
	dec := json.NewDecoder(w.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Fatalf("error body: %v", err)
	}
	if got := w.Header().Get("X-Amzn-ErrorType"); got != p.Type {
		t.Errorf("error header %q, body %q", got, p.Type)
	}
	return p
}

// create makes a service and returns its ARN.
func (f *front) create(t testing.TB, name string) string {
	t.Helper()
	return f.ok(t, "CreateService", serviceRequest(name)).text("Service.ServiceArn")
}

// settle does what the operation runner would: the operation in progress ends well, and the service
// has the status.
func (f *front) settle(t testing.TB, arn string, status apron.ServiceStatus) {
	t.Helper()
	f.end(t, arn, status, apron.OperationSucceeded)
}

// end has the operation in progress on a service end with an outcome, and gives the service a
// status.
func (f *front) end(t testing.TB, arn string, status apron.ServiceStatus, outcome apron.OperationStatus) {
	t.Helper()
	a, err := apron.ParseARN(arn)
	if err != nil {
		t.Fatal(err)
	}
	var lease store.Lease
	for lease.Operation.Service != apron.ServiceID(a.ID) {
		if lease, err = f.store.Claim(t.Context(), "test", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	err = f.store.Tx(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.EndOperation(t.Context(), lease, outcome); err != nil {
			return err
		}
		svc, err := tx.Service(t.Context(), lease.Operation.Service)
		if err != nil {
			return err
		}
		svc.Status = status
		if svc.Candidate != "" {
			svc.Active, svc.Candidate = svc.Candidate, ""
		}
		if status == apron.ServiceDeleted {
			svc.Active, svc.DeletedAt = "", tx.Now()
		}
		return tx.UpdateService(t.Context(), svc)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// walk moves the statuses of VPC ingress connections and custom domains on, as control's Run would.
func (f *front) walk(t testing.TB) {
	t.Helper()
	if _, err := f.control.Advance(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// lines collects log output.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// Reset forgets what has been collected.
func (l *lines) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serve puts f on a real listener and returns its URL.
func (f *front) serve(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

var _ io.Writer = (*lines)(nil)
