package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/api"
)

// TestFrontDoor walks the refusals that come before any action (App Runner API reference, "Common
// Errors").
func TestFrontDoor(t *testing.T) {
	big := strings.Repeat(" ", 4<<20) + "{}"
	tests := map[string]struct {
		edit   func(*signing)
		after  func(*http.Request)
		body   string
		status int
		typ    string
		msg    string
	}{
		"accepted":         {status: 200},
		"no bytes":         {body: "-", status: 200},
		"any path":         {edit: func(s *signing) { s.r.URL.Path = "/some/where"; s.r.RequestURI = "/some/where" }, status: 200},
		"any region":       {edit: func(s *signing) { s.region = "moon-base-7" }, status: 200},
		"no region name":   {edit: func(s *signing) { s.region = "US.East" }, status: 403, typ: "InvalidSignatureException", msg: "Credential should be scoped to a valid region."},
		"other json":       {edit: func(s *signing) { s.r.Header.Set("Content-Type", "application/json") }, status: 200},
		"too large":        {body: big, status: 413, typ: "RequestEntityTooLargeException"},
		"too large hidden": {body: big, edit: func(s *signing) { s.r.ContentLength = -1 }, status: 413, typ: "RequestEntityTooLargeException"},
		"get":              {edit: func(s *signing) { s.r.Method = http.MethodGet }, status: 404, typ: "UnknownOperationException"},
		"no target":        {edit: func(s *signing) { s.r.Header.Del("X-Amz-Target") }, status: 404, typ: "UnknownOperationException"},
		"unknown target":   {edit: func(s *signing) { s.r.Header.Set("X-Amz-Target", "AppRunner.Nope") }, status: 404, typ: "UnknownOperationException"},
		"other prefix":     {edit: func(s *signing) { s.r.Header.Set("X-Amz-Target", "Other.ListServices") }, status: 404, typ: "UnknownOperationException"},
		"two targets":      {edit: func(s *signing) { s.r.Header.Add("X-Amz-Target", "AppRunner.ListServices") }, status: 404, typ: "UnknownOperationException"},
		"no signature":     {after: func(r *http.Request) { r.Header.Del("Authorization") }, status: 403, typ: "MissingAuthenticationTokenException", msg: "Missing Authentication Token"},
		"basic auth":       {after: func(r *http.Request) { r.SetBasicAuth("a", "b") }, status: 403, typ: "IncompleteSignature"},
		"malformed":        {after: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") }, status: 403, typ: "IncompleteSignature"},
		"unknown key":      {edit: func(s *signing) { s.key = "AKIANOBODY" }, status: 403, typ: "UnrecognizedClientException"},
		"disabled key":     {edit: func(s *signing) { s.key = "AKIADISABLED" }, status: 403, typ: "UnrecognizedClientException"},
		"store away":       {edit: func(s *signing) { s.key = "AKIABROKENSTORE" }, status: 500, typ: "InternalServiceErrorException"},
		"other target":     {after: func(r *http.Request) { r.Header.Set("X-Amz-Target", "AppRunner.ListConnections") }, status: 403, typ: "InvalidSignatureException"},
		"expired":          {edit: func(s *signing) { s.at = epoch.Add(-6 * time.Minute) }, status: 403, typ: "InvalidSignatureException", msg: "Signature expired: "},
		"not yet current":  {edit: func(s *signing) { s.at = epoch.Add(6 * time.Minute) }, status: 403, typ: "InvalidSignatureException", msg: "Signature not yet current: "},
		"other service":    {edit: func(s *signing) { s.service = "s3" }, status: 403, typ: "InvalidSignatureException", msg: "Credential should be scoped to correct service: 'apprunner'."},
		"key, then json":   {body: "nonsense", edit: func(s *signing) { s.key = "AKIANOBODY" }, status: 403, typ: "UnrecognizedClientException"},
		"not json":         {body: "nonsense", status: 400, typ: "SerializationException"},
		"not an object":    {body: "[]", status: 400, typ: "SerializationException"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFront(t)
			body := tt.body
			switch body {
			case "":
				body = "{}"
			case "-":
				body = ""
			}
			r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(body))
			r.Header.Set("X-Amz-Target", "AppRunner.ListServices")
			s := signing{r: r, key: keyID, region: region, service: "apprunner", at: epoch}
			if tt.edit != nil {
				tt.edit(&s)
			}
			sign(t, s, body)
			if tt.after != nil {
				tt.after(r)
			}
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if got := w.Header().Get("x-amzn-RequestId"); got != requestID {
				t.Errorf("request id %q", got)
			}
			if got := w.Header().Get("Content-Type"); got != "application/x-amz-json-1.0" {
				t.Errorf("content type %q", got)
			}
			if tt.status == 200 {
				return
			}
			if p := problemOf(t, w); p.Type != tt.typ || !strings.HasPrefix(p.Message, tt.msg) || p.Message == "" {
				t.Errorf("got %+v, want %s %q", p, tt.typ, tt.msg)
			}
		})
	}
}

func TestIsAPI(t *testing.T) {
	tests := []struct {
		method, path, header, value string
		want                        bool
	}{
		{"POST", "/", "X-Amz-Target", "AppRunner.ListServices", true},
		{"POST", "/v2/", "X-Amz-Target", "", true},
		{"GET", "/x", "Authorization", "AWS4-HMAC-SHA256 Credential=", true},
		{"GET", "/v2/", "Authorization", "Basic eDp5", false},
		{"POST", "/", "", "", false},
		{"GET", "/", "", "", false},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(tt.method, tt.path, nil)
		if tt.header != "" {
			r.Header.Set(tt.header, tt.value)
		}
		if got := api.IsAPI(r); got != tt.want {
			t.Errorf("%+v: got %v", tt, got)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	f := newFront(t, func(c *api.Config) { c.RequestID = nil })
	seen := map[string]bool{}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for range 5 {
		id := f.call(t, "ListServices", "{}").Header().Get("x-amzn-RequestId")
		if !uuid.MatchString(id) || seen[id] {
			t.Errorf("request id %q", id)
		}
		seen[id] = true
	}
}

// TestUsed tells of keys whose secret was proved to be known, and of no others.
func TestUsed(t *testing.T) {
	var used []string
	f := newFront(t, func(c *api.Config) { c.Used = func(id string) { used = append(used, id) } })
	f.call(t, "ListServices", "{}", func(s *signing) { s.key = "AKIANOBODY" })
	f.call(t, "ListServices", "{}", func(s *signing) { s.key = "AKIADISABLED" })
	f.call(t, "ListServices", "{}", func(s *signing) { s.at = epoch.Add(-time.Hour) })
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader("{}"))
	r.Header.Set("X-Amz-Target", "AppRunner.ListServices")
	sign(t, signing{r: r, key: keyID, region: region, service: "apprunner", at: epoch}, "{ }") // of another body
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if p := problemOf(t, w); p.Type != "InvalidSignatureException" || len(used) > 0 {
		t.Errorf("got %+v; used %v", p, used)
	}
	f.call(t, "ListServices", "{}")
	f.call(t, "ListServices", "nonsense", func(s *signing) { s.key = "AKIAOTHERACCOUNT" }) // signed is used
	same(t, []string{keyID, "AKIAOTHERACCOUNT"}, used)
}

// TestScopes has the same name in two regions and two accounts: they never meet.
func TestScopes(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "shared-name")
	for name, edit := range map[string]func(*signing){
		"other region":  func(s *signing) { s.region = "eu-west-1" },
		"other account": func(s *signing) { s.key = "AKIAOTHERACCOUNT" },
	} {
		w := f.call(t, "DescribeService", `{"ServiceArn":"`+arn+`"}`, edit)
		if p := problemOf(t, w); p.Type != "ResourceNotFoundException" {
			t.Errorf("%s: %+v", name, p)
		}
		if got := f.call(t, "ListServices", "{}", edit).Body.String(); got != `{"ServiceSummaryList":[]}` {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestInternalErrors(t *testing.T) {
	for name, fail := range map[string]func() error{
		"panic": func() error { panic("the sky is falling") },
		"error": func() error { return errors.New("the sky is falling") },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, func(c *api.Config) {
				c.Authenticate = func(context.Context, string) (apron.AccessKey, bool, error) { return apron.AccessKey{}, false, fail() }
			})
			w := f.call(t, "ListServices", "{}")
			p := problemOf(t, w)
			if w.Code != 500 || p.Type != "InternalServiceErrorException" || strings.Contains(p.Message, "sky") {
				t.Errorf("got %d %+v", w.Code, p)
			}
			if log := f.log.String(); !strings.Contains(log, "the sky is falling") || !strings.Contains(log, requestID) || !strings.Contains(log, "ERROR") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// TestW14Faults checks that no action answers with an error outside of its set.
func TestW14Faults(t *testing.T) {
	tests := []struct {
		kind   apron.FaultKind
		action string
		want   string
	}{
		{apron.Invalid, "ListServices", "InvalidRequestException"},
		{apron.NotFound, "DescribeService", "ResourceNotFoundException"},
		{apron.NotFound, "CreateService", "InvalidRequestException"},
		{apron.NotFound, "AssociateCustomDomain", "InvalidRequestException"},
		{apron.State, "DeleteService", "InvalidStateException"},
		{apron.State, "StartDeployment", "InvalidRequestException"},
		{apron.Quota, "CreateConnection", "ServiceQuotaExceededException"},
		{apron.Quota, "UpdateService", "InvalidRequestException"},
		{apron.FaultKind(0), "PauseService", "InvalidRequestException"},
	}
	for _, tt := range tests {
		err := fmt.Errorf("wrapped: %w", apron.Faultf(tt.kind, "because"))
		if got, status := api.Explain(err, tt.action); got != tt.want || status != 400 {
			t.Errorf("%v on %s: got %s %d, want %s", tt.kind, tt.action, got, status, tt.want)
		}
	}
}

// TestSlowBody sends half a body over a real connection and then nothing.
func TestSlowBody(t *testing.T) {
	f := newFront(t, func(c *api.Config) { c.BodyTimeout = 50 * time.Millisecond })
	got := exchange(t, f.serve(t), "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AppRunner.ListServices\r\nContent-Length: 100\r\n\r\n{", false)
	if !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.Contains(got, `"RequestTimeoutException"`) || !strings.Contains(got, "Connection: close") {
		t.Errorf("got %s", got)
	}
}

// TestCutBody closes the sending half of a connection in the middle of a body.
func TestCutBody(t *testing.T) {
	f := newFront(t)
	got := exchange(t, f.serve(t), "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AppRunner.ListServices\r\nContent-Length: 100\r\n\r\n{", true)
	if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, `"RequestAbortedException"`) {
		t.Errorf("got %s", got)
	}
}

// exchange sends raw bytes and reads until the server closes the connection.
func exchange(t *testing.T, url, send string, half bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	if half {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// TestLogsNoSecrets sends sensitive values that are refused, and looks for them.
func TestLogsNoSecrets(t *testing.T) {
	f := newFront(t)
	w := f.call(t, "CreateService", `{"ServiceName":"web-app","SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"x",
		"ImageRepositoryType":"ECR","ImageConfiguration":{"StartCommand":"hush\nhush","RuntimeEnvironmentVariables":{"":"hush"},
		"RuntimeEnvironmentSecrets":{"hush":""}}}}}`)
	if w.Code != 400 || strings.Contains(w.Body.String(), "hush") || strings.Contains(f.log.String(), "hush") {
		t.Errorf("%d %s\n%s", w.Code, w.Body, f.log)
	}
}
