package auth_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/auth"
	"apron/store"
	"apron/store/storetest"
)

// dataDir returns a data directory and its name.
func dataDir(t *testing.T) (*os.Root, string) {
	t.Helper()
	name := t.TempDir()
	root, err := os.OpenRoot(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, name
}

func ensure(t *testing.T, s *store.Store, dir *os.Root, account string) apron.AccessKey {
	t.Helper()
	key, err := auth.New(s, nil).EnsureAdministrator(t.Context(), dir, account)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestEnsureAdministrator(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		s := storetest.OpenDSN(t, dsn)
		dir, name := dataDir(t)
		if _, err := auth.LoadAdministrator(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("before the first start: got %v, want fs.ErrNotExist", err)
		}
		// What a crash in the middle of writing leaves behind.
		if err := dir.WriteFile("credentials.json.new", []byte(`{"access_key_id":"AK`), 0o644); err != nil {
			t.Fatal(err)
		}
		first := ensure(t, s, dir, account)
		if first.Account != account || first.Principal != "arn:aws:iam::123456789012:user/administrator" {
			t.Errorf("got %+v", first)
		}
		files, err := os.ReadDir(name)
		if err != nil || len(files) != 1 {
			t.Errorf("got %v, %v; want credentials.json alone", files, err)
		}
		info, err := dir.Stat("credentials.json")
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("got mode %v, %v; want 600", info.Mode(), err)
		}
		loaded, err := auth.LoadAdministrator(name)
		if err != nil {
			t.Fatal(err)
		}
		inStore, err := s.AccessKey(t.Context(), first.ID)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere := ensure(t, storetest.Open(t), dir, account) // a store without the key's row
		for what, got := range map[string]apron.AccessKey{
			"later start": ensure(t, s, dir, "210987654321"), "loaded": loaded, "store": inStore, "other store": elsewhere,
		} {
			if diff := cmp.Diff(first, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
	})
}

func TestEnsureAdministratorRefuses(t *testing.T) {
	s := storetest.Open(t)
	dir, name := dataDir(t)
	key := ensure(t, s, dir, account)
	good, err := os.ReadFile(filepath.Join(name, "credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct{ content, want string }{
		"cut":            {string(good[:len(good)/2]), "damaged"},
		"empty":          {"", "damaged"},
		"no secret":      {`{"access_key_id":"` + key.ID + `","account":"123456789012","principal":"p"}`, "damaged"},
		"unknown member": {strings.Replace(string(good), `"account"`, `"hunter2": 1, "account"`, 1), "damaged"},
		"other secret":   {strings.Replace(string(good), key.Secret, "hunter2", 1), "is not the one in the store"},
	} {
		if err := dir.WriteFile("credentials.json", []byte(tc.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := auth.New(s, nil).EnsureAdministrator(t.Context(), dir, account)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want it to contain %q", what, err, tc.want)
		}
		if err != nil && (strings.Contains(err.Error(), key.Secret[:8]) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: the error quotes the file: %v", what, err)
		}
	}
}
