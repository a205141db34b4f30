package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
)

// object is an answer as a client without a model sees it: what is there, and of which JSON type.
type object struct {
	testing.TB

	value any
}

// ok sends a request that must succeed, and returns the answer.
func (f *front) ok(t testing.TB, action, body string) object {
	t.Helper()
	w := f.call(t, action, body)
	if w.Code != http.StatusOK {
		t.Fatalf("%s %s: %d %s", action, body, w.Code, w.Body)
	}
	o := object{TB: t}
	dec := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	dec.UseNumber()
	if err := dec.Decode(&o.value); err != nil {
		t.Fatal(err)
	}
	return o
}

// fails sends a request that must be refused with the exception and a message that contains text.
func (f *front) fails(t testing.TB, action, body, exception, text string) {
	t.Helper()
	w := f.call(t, action, body)
	if w.Code == http.StatusOK {
		t.Errorf("%s %s succeeded: %s", action, body, w.Body)
		return
	}
	if p := problemOf(t, w); p.Type != exception || !strings.Contains(p.Message, text) {
		t.Errorf("%s %s:\n got %s %q\nwant %s %q", action, body, p.Type, p.Message, exception, text)
	}
}

// at returns what is at a path, such as Service.SourceConfiguration or Tags.0.Key; nil: nothing.
func (o object) at(path string) any {
	v := o.value
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// text returns the string at a path, which must be there and not empty.
func (o object) text(path string) string {
	o.Helper()
	s, ok := o.at(path).(string)
	if !ok || s == "" {
		o.Fatalf("%s is %v in %v", path, o.at(path), o.value)
	}
	return s
}

// is compares what is at a path with a string, bool or int; nil means that nothing is there.
func (o object) is(path string, want any) {
	o.Helper()
	if n, ok := want.(int); ok {
		want = json.Number(strconv.Itoa(n))
	}
	if got := o.at(path); !reflect.DeepEqual(got, want) {
		o.Errorf("%s is %#v, want %#v", path, got, want)
	}
}

// list returns the list at a path, which must be there.
func (o object) list(path string) []any {
	o.Helper()
	l, ok := o.at(path).([]any)
	if !ok {
		o.Fatalf("%s is %#v, want a list", path, o.at(path))
	}
	return l
}

// size compares the length of the list at a path.
func (o object) size(path string, want int) {
	o.Helper()
	if got := o.list(path); len(got) != want {
		o.Errorf("%s has %d elements, want %d: %v", path, len(got), want, got)
	}
}

// part returns the object at a path.
func (o object) part(path string) object { return object{o.TB, o.at(path)} }

// same compares two parts of answers.
func same(t testing.TB, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// raw returns v as JSON, to be sent again.
func raw(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// running makes a service that runs, with more members of a CreateService request if there are any.
func (f *front) running(t testing.TB, name string, members ...string) string {
	t.Helper()
	arn := f.ok(t, "CreateService", serviceRequest(name, members...)).text("Service.ServiceArn")
	f.settle(t, arn, apron.ServiceRunning)
	return arn
}

// serviceRequest returns a CreateService request for a public image, unless members have a
// SourceConfiguration.
func serviceRequest(name string, members ...string) string {
	if !strings.Contains(strings.Join(members, ""), `"SourceConfiguration"`) {
		members = append(members, `"SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC"}}`)
	}
	return fmt.Sprintf(`{"ServiceName":%q,%s}`, name, strings.Join(members, ","))
}

// serviceARN returns a request that has a service's ARN and more members, if there are any.
func serviceARN(arn string, members ...string) string {
	return "{" + strings.Join(append([]string{fmt.Sprintf(`"ServiceArn":%q`, arn)}, members...), ",") + "}"
}

// private is the member of a CreateService request for a service that only a VPC reaches.
const private = `"NetworkConfiguration":{"IngressConfiguration":{"IsPubliclyAccessible":false}}`
