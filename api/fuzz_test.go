package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"apron"
	"apron/api"
)

// FuzzDecode compares the decoder with encoding/json: whatever ours accepts is valid JSON and
// valid UTF-8, and what it has read encodes to JSON that reads the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"ServiceArn":"x"}`, `{"Tags":[{"Key":"a","Value":null}],"ResourceArn":"\u00e9\ud83d\ude00"}`, `{"a":[1.5e-3,{"b":-0}]}`,
		`{"a":1,"a":1}`, `{"a":"\ud800"}`, image(`"Port":"1","RuntimeEnvironmentVariables":{"A":"1"}`), `{"MaxResults":2147483648}`, "{\"\xff\":1}", `{"a":[[[[`,
	} {
		f.Add("CreateService", []byte(s))
		f.Add("TagResource", []byte(s))
	}
	actions := map[string]bool{}
	for _, a := range loadModel(f).Actions {
		actions[a.Name] = true
	}
	f.Fuzz(func(t *testing.T, action string, body []byte) {
		if !actions[action] {
			return
		}
		in, refused, err := api.Decode(action, body)
		if err != nil {
			if !refused || err.Error() == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if len(body) > 0 && (!json.Valid(body) || !utf8.Valid(body)) {
			t.Fatalf("accepted %q", body)
		}
		once, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := api.Decode(action, once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v: %s, then %s", err, once, twice)
		}
	})
}

// FuzzParseARN checks that an ARN that is accepted is written back as it came.
func FuzzParseARN(f *testing.F) {
	for _, s := range []string{
		missingARN, "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/a/1/x", "arn:aws-cn:apprunner:cn-north-1:123456789012:service/a",
		"arn:aws:apprunner::123456789012:vpcconnector/a/01", "arn:aws:apprunner:::/", "arn:aws:apprunner:us-east-1:123456789012:connection/a//",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := apron.ParseARN(s)
		if err != nil {
			var fault *apron.Fault
			if !errors.As(err, &fault) || fault.Kind != apron.Invalid {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if a.String() != s {
			t.Errorf("%q became %q", s, a)
		}
	})
}

// FuzzPageToken checks that no token is accepted but those made for the same list.
func FuzzPageToken(f *testing.F) {
	scope := apron.Scope{Account: account, Region: region}
	f.Add("cursor", api.Token("ListServices", scope, "", "cursor"))
	f.Add("cursor", "eyJhZnRlciI6IngiLCJib3VuZCI6IiJ9")
	f.Add("\xff", "%%%")
	f.Fuzz(func(t *testing.T, cursor, token string) {
		if got, err := api.Cursor("ListServices", scope, "", token); err == nil && token != "" && token != api.Token("ListServices", scope, "", got) {
			t.Errorf("%q accepted as %q", token, got)
		}
		if cursor == "" || !utf8.ValidString(cursor) {
			return
		}
		made := api.Token("ListServices", scope, "", cursor)
		if got, err := api.Cursor("ListServices", scope, "", made); err != nil || got != cursor {
			t.Errorf("%q: got %q, %v", cursor, got, err)
		}
		for _, other := range []struct {
			action, filter string
			scope          apron.Scope
		}{
			{"ListOperations", "", scope},
			{"ListServices", "x", scope},
			{"ListServices", "", apron.Scope{Account: account, Region: "eu-west-1"}},
			{"ListServices", "", apron.Scope{Account: "210987654321", Region: region}},
		} {
			if _, err := api.Cursor(other.action, other.scope, other.filter, made); apron.KindOf(err) != apron.Invalid {
				t.Errorf("token of another list: %v", err)
			}
		}
	})
}
