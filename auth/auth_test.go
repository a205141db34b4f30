package auth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"apron"
	"apron/auth"
	"apron/store"
	"apron/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account   = "123456789012"
	principal = "arn:aws:iam::123456789012:user/alice"
)

// newKey adds a key through a.
func newKey(tb testing.TB, a *auth.Auth) apron.AccessKey {
	tb.Helper()
	key, err := auth.NewAccessKey(rand.Reader, account, principal)
	if err != nil {
		tb.Fatal(err)
	}
	if err := a.Insert(tb.Context(), key); err != nil {
		tb.Fatal(err)
	}
	return key
}

func wantKey(tb testing.TB, a *auth.Auth, id string, want bool) {
	tb.Helper()
	key, ok, err := a.Key(tb.Context(), id)
	if err != nil || ok != want || ok != (key.ID != "") || ok && key.ID != id {
		tb.Errorf("key %q: got %q, %t, %v; want %t", id, key.ID, ok, err, want)
	}
}

func TestNewAccessKey(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		key, err := auth.NewAccessKey(rand.Reader, account, principal)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`).MatchString(key.ID) {
			t.Errorf("got id %q", key.ID)
		}
		if !regexp.MustCompile(`^[A-Za-z0-9]{40}$`).MatchString(key.Secret) {
			t.Errorf("got secret %q", key.Secret)
		}
		if key.Account != account || key.Principal != principal || key.Disabled || seen[key.ID] || seen[key.Secret] {
			t.Errorf("got %+v", key)
		}
		seen[key.ID], seen[key.Secret] = true, true
	}
	for _, n := range []int{0, 9, 10, 49} {
		_, err := auth.NewAccessKey(bytes.NewReader(make([]byte, n)), account, principal)
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d random bytes: got %v", n, err)
		}
	}
}

func TestKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := auth.New(s, nil)
		key := newKey(t, a)
		wantKey(t, a, key.ID, true)
		for _, id := range []string{"", "AKIANONE", strings.ToLower(key.ID), key.ID + " ", "\x00", "\xff", strings.Repeat("A", 1<<20)} {
			wantKey(t, a, id, false)
		}
		// Every change counts at once.
		for _, disabled := range []bool{true, false} {
			if err := a.SetDisabled(t.Context(), key.ID, disabled); err != nil {
				t.Fatal(err)
			}
			wantKey(t, a, key.ID, !disabled)
		}
		if err := a.Delete(t.Context(), key.ID); err != nil {
			t.Fatal(err)
		}
		wantKey(t, a, key.ID, false)
		if err := a.Delete(t.Context(), key.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("delete again: got %v, want ErrNotFound", err)
		}
	})
}

func TestKeyStoreClosed(t *testing.T) {
	s, err := store.Open(t.Context(), storetest.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	a := auth.New(s, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := a.Key(t.Context(), "AKIAANY"); ok || err == nil {
		t.Errorf("got %t, %v; want an error", ok, err)
	}
	if _, ok := a.CheckBasic(t.Context(), "AKIAANY", ""); ok {
		t.Error("a password was accepted without a store")
	}
}

// What another process changes counts for the next request.
func TestKeyChangedElsewhere(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn string) {
		here := auth.New(storetest.OpenDSN(t, dsn), nil)
		there := auth.New(storetest.OpenDSN(t, dsn), nil)
		key := newKey(t, here)
		wantKey(t, here, key.ID, true)
		if err := there.SetDisabled(t.Context(), key.ID, true); err != nil {
			t.Fatal(err)
		}
		wantKey(t, here, key.ID, false)
	})
}

// A look-up that began before a change and ended after it must not bring the old key back.
func TestKeyDisabledWhileLookedUp(t *testing.T) {
	a := auth.New(storetest.Open(t), nil)
	for range 30 {
		key := newKey(t, a)
		var group sync.WaitGroup
		done := make(chan struct{})
		for range 4 {
			group.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					if _, _, err := a.Key(t.Context(), key.ID); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if err := a.SetDisabled(t.Context(), key.ID, true); err != nil {
			t.Error(err)
		}
		wantKey(t, a, key.ID, false)
		close(done)
		group.Wait()
		wantKey(t, a, key.ID, false)
	}
}

func TestCheckBasic(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := auth.New(s, nil)
		key, disabled := newKey(t, a), newKey(t, a)
		if err := a.SetDisabled(t.Context(), disabled.ID, true); err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			user, password string
			want           bool
		}{
			"right":          {key.ID, key.Secret, true},
			"wrong":          {key.ID, disabled.Secret, false},
			"a part":         {key.ID, key.Secret[:39], false},
			"more":           {key.ID, key.Secret + "x", false},
			"no password":    {key.ID, "", false},
			"disabled":       {disabled.ID, disabled.Secret, false},
			"no such key":    {"AKIANONE", "", false},
			"nobody at all":  {"", "", false},
			"other's secret": {disabled.ID, key.Secret, false},
		} {
			got, ok := a.CheckBasic(t.Context(), tc.user, tc.password)
			if ok != tc.want || ok != (got.ID == tc.user && got.ID != "") {
				t.Errorf("%s: got %q, %t; want %t", name, got.ID, ok, tc.want)
			}
		}
	})
}

// Uses are written together, once a minute and at the end; refused passwords are none.
func TestLastUsed(t *testing.T) {
	dsn := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		s, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		a := auth.New(s, time.Now)
		key, other := newKey(t, a), newKey(t, a)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- a.Run(ctx) }()
		lastUsed := func(id string) time.Time {
			t.Helper()
			k, err := s.AccessKey(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return k.LastUsedAt
		}
		after := func(d time.Duration) {
			<-time.After(d)
			synctest.Wait()
		}

		used := time.Now()
		a.Used(key.ID)
		wantKey(t, a, other.ID, true) // to look it up is no use of it
		a.CheckBasic(t.Context(), other.ID, "guess")
		after(59 * time.Second)
		if got := lastUsed(key.ID); !got.IsZero() {
			t.Errorf("written after 59 s: %v", got)
		}
		after(2 * time.Second)
		if got := lastUsed(key.ID); !got.Equal(used.Truncate(time.Microsecond)) {
			t.Errorf("after a minute: got %v, want %v", got, used)
		}
		if got := lastUsed(other.ID); !got.IsZero() {
			t.Errorf("a wrong password counts as a use: %v", got)
		}
		used = time.Now()
		if _, ok := a.CheckBasic(t.Context(), other.ID, other.Secret); !ok {
			t.Error("password refused")
		}
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
		if got := lastUsed(other.ID); !got.Equal(used.Truncate(time.Microsecond)) {
			t.Errorf("after the end: got %v, want %v", got, used)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkKey(b *testing.B) {
	a := auth.New(storetest.Open(b), nil)
	key := newKey(b, a)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok, err := a.Key(b.Context(), key.ID); !ok || err != nil {
				b.Error(ok, err)
			}
		}
	})
}
