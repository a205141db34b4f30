package secrets_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"apron/secrets"
)

func open(t *testing.T, dir string) *secrets.Keyset {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	k, err := secrets.Open(root, "keys.json")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	k := open(t, dir)
	sealed, err := k.Seal("connection/1", []byte("hunter2"))
	if err != nil || strings.Contains(sealed, "hunter2") {
		t.Fatal(sealed, err)
	}
	if again, err := k.Seal("connection/1", []byte("hunter2")); err != nil || again == sealed {
		t.Errorf("sealed twice alike: %s, %v", again, err)
	}
	if got, err := open(t, dir).Open("connection/1", sealed); err != nil || string(got) != "hunter2" {
		t.Errorf("opened as %q, %v", got, err)
	}
	changed := sealed[:len(sealed)-2] + map[bool]string{true: "B", false: "A"}[sealed[len(sealed)-2] == 'A'] + sealed[len(sealed)-1:]
	for _, bad := range []string{"", "v1", "v2" + sealed[2:], changed, sealed + "A", strings.Replace(sealed, "v1.", "v1.0", 1), "v1..", sealed + "."} {
		if got, err := k.Open("connection/1", bad); !errors.Is(err, secrets.ErrSealed) {
			t.Errorf("%q opened as %q, %v", bad, got, err)
		}
	}
	if _, err := k.Open("connection/2", sealed); !errors.Is(err, secrets.ErrSealed) {
		t.Errorf("opened for another purpose: %v", err)
	}
	if _, err := open(t, t.TempDir()).Open("connection/1", sealed); !errors.Is(err, secrets.ErrSealed) {
		t.Errorf("opened with other keys: %v", err)
	}
	if info, err := os.Stat(dir + "/keys.json"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of keys is %v, %v", info, err)
	}
}

func TestToken(t *testing.T) {
	dir := t.TempDir()
	a, err := open(t, dir).Token("webhook/1")
	if err != nil || len(a) != 64 {
		t.Fatal(a, err)
	}
	b, _ := open(t, dir).Token("webhook/1")
	c, _ := open(t, dir).Token("webhook/2")
	d, _ := open(t, t.TempDir()).Token("webhook/1")
	if a != b || a == c || a == d {
		t.Errorf("tokens %s %s %s %s", a, b, c, d)
	}
}

// With a newer key in the file, what the older one sealed still opens.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	sealed, err := open(t, dir).Seal("p", []byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Newest string            `json:"newest"`
		Keys   map[string]string `json:"keys"`
	}
	text, err := os.ReadFile(dir + "/keys.json")
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Newest, f.Keys["new"] = "new", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	text, err = json.Marshal(f)
	if err == nil {
		err = os.WriteFile(dir+"/keys.json", text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := open(t, dir)
	if got, err := k.Open("p", sealed); err != nil || string(got) != "old" {
		t.Errorf("opened as %q, %v", got, err)
	}
	if again, err := k.Seal("p", []byte("old")); err != nil || !strings.HasPrefix(again, "v1.new.") {
		t.Errorf("sealed as %s, %v", again, err)
	}
}

func TestOpenAtOnce(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	tokens := make([]string, 8)
	for i := range tokens {
		all.Go(func() { tokens[i], _ = open(t, dir).Token("p") })
	}
	all.Wait()
	for _, token := range tokens {
		if token != tokens[0] || token == "" {
			t.Fatalf("tokens %v", tokens)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("files %v, %v", left, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, text := range []string{"", "{}", `{"newest":"a","keys":{"a":"AA=="}}`, `{"newest":"a","keys":{"b":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(dir+"/keys.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := secrets.Open(root, "keys.json"); err == nil {
			t.Errorf("%s: %v", text, k)
		}
		root.Close()
	}
}

func FuzzOpenSealed(f *testing.F) {
	for _, seed := range []string{"", "v1.a.b", "v1..", "v1.00000000.AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sealed string) {
		if got, err := open(t, t.TempDir()).Open("p", sealed); err == nil {
			t.Errorf("%q opened as %q", sealed, got)
		}
	})
}
