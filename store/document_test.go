package store

import (
	"encoding/json"
	goflag "flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
)

var update = goflag.Bool("update", false, "rewrite the golden files")

// fill sets every member of v, to any depth, to a value that is not zero and not like another.
func fill(v reflect.Value, n *int64) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[apron.ARN]() {
			v.Set(reflect.ValueOf(apron.DefaultAutoScaling(apron.Scope{Account: "123456789012", Region: "us-east-1"}).ARN))
			return
		}
		for _, member := range v.Fields() {
			fill(member, n)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		if v.Type() == reflect.TypeFor[time.Duration]() {
			v.SetInt(*n * int64(time.Millisecond))
			return
		}
		v.SetInt(*n)
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *n))
	default:
		panic("fill cannot make a " + v.Type().String())
	}
}

// Every member of a configuration is stored, under a name that never changes.
func TestConfigDocument(t *testing.T) {
	var want apron.ServiceConfiguration
	fill(reflect.ValueOf(&want).Elem(), new(int64))
	stored, err := encodeConfig(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeConfig([]byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a member is lost (-want +got):\n%s", diff)
	}

	golden := filepath.Join("testdata", "configuration.json")
	if *update {
		var pretty any
		if err := json.Unmarshal([]byte(stored), &pretty); err != nil {
			t.Fatal(err)
		}
		b, err := json.MarshalIndent(pretty, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	got, err = decodeConfig(old)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the golden document reads differently (-want +got):\n%s", diff)
	}
}

func TestConfigDocumentSparse(t *testing.T) {
	for name, c := range map[string]apron.ServiceConfiguration{
		"zero":  {},
		"image": {Source: apron.SourceConfiguration{Image: &apron.ImageRepository{}}},
		"code":  {Source: apron.SourceConfiguration{Code: &apron.CodeRepository{}}},
		"off":   {Observability: &apron.ServiceObservability{}},
	} {
		stored, err := encodeConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeConfig([]byte(stored))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func FuzzDecodeConfig(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "configuration.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"auto_scaling":"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/web/1"}`))
	f.Add([]byte(`{"source":null,"health_check":{"interval_ms":-1}}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		c, err := decodeConfig(stored)
		if err != nil {
			return
		}
		again, err := encodeConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeConfig([]byte(again)); err != nil {
			t.Errorf("%s was read from %s and cannot be read again: %v", again, stored, err)
		}
	})
}

func FuzzParseCursor(f *testing.F) {
	f.Add(cursor{n: 1, id: "a"}.encode())
	f.Add(cursor{n: -1}.encode())
	f.Add("")
	f.Add("MS9h=")
	f.Add("KzEvYQ") // +1/a
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCursor(s)
		if err == nil && c.encode() != s {
			t.Errorf("%q was read as %v, which is %q", s, c, c.encode())
		}
		if err != nil && apron.KindOf(err) != apron.Invalid {
			t.Errorf("got %v, want an Invalid Fault", err)
		}
	})
}

func FuzzReadable(f *testing.F) {
	f.Add("plain", 10)
	f.Add("\x00\xff€€€€€€€€", 10)
	f.Fuzz(func(t *testing.T, s string, max int) {
		max = min(max, 1<<16)
		if max < 10 {
			max = 10
		}
		got := readable(s, max)
		if len(got) > max || readable(got, max) != got {
			t.Errorf("%q became %q", s, got)
		}
	})
}
