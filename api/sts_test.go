package api_test

import (
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"apron/api"
)

const whoAmI = "Action=GetCallerIdentity&Version=2011-06-15"

// forSTS turns a signed call into one of the query protocol.
func forSTS(s *signing) {
	s.service = "sts"
	s.r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	s.r.Header.Del("X-Amz-Target")
}

func TestCallerIdentity(t *testing.T) {
	f := newFront(t)
	w := f.call(t, "", whoAmI, forSTS)
	want := `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>` +
		`<Arn>arn:aws:iam::123456789012:root</Arn><UserId>123456789012</UserId><Account>123456789012</Account></GetCallerIdentityResult>` +
		`<ResponseMetadata><RequestId>` + requestID + `</RequestId></ResponseMetadata></GetCallerIdentityResponse>`
	same(t, want, w.Body.String())
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/xml" || w.Header().Get("x-amzn-RequestId") != requestID {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// TestSTSSDK has the AWS SDK for Go ask who it is, as the user of a key.
func TestSTSSDK(t *testing.T) {
	f := newFront(t, realTime, func(c *api.Config) { c.Authenticate = asUser })
	c := sts.New(sts.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(f.serve(t)), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
	})
	out, err := c.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Account != account || *out.Arn != "arn:aws:iam::123456789012:user/someone" || len(*out.UserId) != 21 || !strings.HasPrefix(*out.UserId, "AIDA") {
		t.Errorf("%s %s %s", *out.Account, *out.Arn, *out.UserId)
	}
}

func TestSTSErrors(t *testing.T) {
	asIs := func(*http.Request) {}
	tests := map[string]struct {
		body   string
		edit   func(*signing)
		after  func(*http.Request)
		status int
		code   string
	}{
		"another action":  {body: "Action=AssumeRole&Version=2011-06-15", status: 400, code: "InvalidAction"},
		"another version": {body: "Action=GetCallerIdentity&Version=2020-01-01", status: 400, code: "InvalidAction"},
		"no action":       {body: "Version=2011-06-15", status: 400, code: "MissingAction"},
		"nothing":         {status: 400, code: "MissingAction"},
		"no form":         {body: "%zz", status: 400, code: "MalformedQueryString"},
		"json":            {body: `{"Action":"GetCallerIdentity"}`, status: 400, code: "MissingAction"},
		"get":             {edit: func(s *signing) { s.r.Method = http.MethodGet }, status: 400, code: "InvalidAction"},
		"unknown key":     {body: whoAmI, edit: func(s *signing) { s.key = "AKIANOBODY" }, status: 403, code: "InvalidClientTokenId"},
		"disabled key":    {body: whoAmI, edit: func(s *signing) { s.key = "AKIADISABLED" }, status: 403, code: "InvalidClientTokenId"},
		"too late":        {body: whoAmI, edit: func(s *signing) { s.at = epoch.Add(-6 * time.Minute) }, status: 403, code: "SignatureDoesNotMatch"},
		"changed":         {body: whoAmI, after: func(r *http.Request) { r.Host = "example.com" }, status: 403, code: "SignatureDoesNotMatch"},
		"too large":       {body: strings.Repeat("a", 4<<20+1), status: 413, code: "RequestEntityTooLarge"},
		"store away":      {body: whoAmI, edit: func(s *signing) { s.key = "AKIABROKENSTORE" }, status: 500, code: "InternalFailure"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFront(t)
			s := signing{key: keyID, region: region, at: epoch, r: httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(tt.body))}
			forSTS(&s)
			if tt.edit != nil {
				tt.edit(&s)
			}
			if tt.after == nil {
				tt.after = asIs
			}
			sign(t, s, tt.body)
			tt.after(s.r)
			w := httptest.NewRecorder()
			f.ServeHTTP(w, s.r)
			var p struct {
				XMLName struct{} `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
				Type    string   `xml:"Error>Type"`
				Code    string   `xml:"Error>Code"`
				Message string   `xml:"Error>Message"`
				ID      string   `xml:"RequestId"`
			}
			if err := xml.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			wantType := "Sender"
			if tt.status == 500 {
				wantType = "Receiver"
			}
			if w.Code != tt.status || p.Code != tt.code || p.Type != wantType || p.Message == "" || p.ID != requestID || w.Header().Get("Content-Type") != "text/xml" {
				t.Errorf("got %d %+v, want %d %s", w.Code, p, tt.status, tt.code)
			}
		})
	}
}

// TestServicesDoNotMix has actions of one service signed for another.
func TestServicesDoNotMix(t *testing.T) {
	f := newFront(t)
	signedFor := func(service string) func(*signing) { return func(s *signing) { s.service = service } }
	if w := f.call(t, "ListServices", "{}", signedFor("sts")); w.Code != 400 || !strings.Contains(w.Body.String(), "<Code>MissingAction</Code>") {
		t.Errorf("an action of App Runner signed for sts: %d %s", w.Code, w.Body)
	}
	if p := problemOf(t, f.call(t, "", whoAmI, forSTS, signedFor("apprunner"))); p.Type != "UnknownOperationException" {
		t.Errorf("an action of sts signed for apprunner: %+v", p)
	}
	for _, name := range []string{"s3", "sqs", "execute-api"} {
		if p := problemOf(t, f.call(t, "", whoAmI, forSTS, signedFor(name))); p.Type != "InvalidSignatureException" || !strings.Contains(p.Message, "correct service") {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
