package source_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/source"
)

// listeners are the services that follow branches, and what they are told.
type listeners struct {
	mu       sync.Mutex // guards followed and refuse
	followed []apron.FollowedBranch
	refuse   int // how many of the next tellings fail

	told chan [2]string // service and version
}

func (l *listeners) list(context.Context) ([]apron.FollowedBranch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.followed, nil
}

func (l *listeners) noticed(ctx context.Context, id apron.ServiceID, version string) error {
	l.mu.Lock()
	refuse := l.refuse > 0
	l.refuse--
	l.mu.Unlock()
	if refuse {
		return errors.New("not now")
	}
	select {
	case l.told <- [2]string{string(id), version}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next returns whom something was told next, and what.
func (l *listeners) next(t *testing.T) [2]string {
	t.Helper()
	select {
	case told := <-l.told:
		return told
	case <-time.After(30 * time.Second):
		t.Fatal("nobody is told anything")
		return [2]string{}
	}
}

// followBranches runs a follower of the branches.
func followBranches(t *testing.T, interval time.Duration, branches ...apron.FollowedBranch) (*listeners, *source.BranchFollower) {
	t.Helper()
	l := &listeners{followed: branches, told: make(chan [2]string)}
	f := source.NewBranchFollower(source.BranchFollowerConfig{
		Git: newGit(t, nil), Followed: l.list, Noticed: l.noticed, Interval: interval, Log: slog.New(slog.DiscardHandler),
		Credential: func(_ context.Context, arn string) (source.GitCredential, error) {
			return source.GitCredential{}, errors.New("no connection " + arn)
		},
		Jitter: func(time.Duration) time.Duration { return 0 },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return l, f
}

func TestBranchFollower(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	first := repo.write(map[string]string{"web/file": "1", "api/file": "1"})
	at := apron.FollowedBranch{Service: "root", Scope: scopeOf(alice), URL: repo.url(), Branch: "main", SourceDirectory: "/"}
	web := at
	web.Service, web.SourceDirectory = "web", "/web/"
	gone := at
	gone.Service, gone.SourceDirectory = "gone", "/nope"
	closed := at
	closed.Service, closed.ConnectionARN = "closed", "arn"
	l, _ := followBranches(t, 20*time.Millisecond, at, web, gone, closed)
	seen := map[string]string{}
	for range 2 {
		told := l.next(t)
		seen[told[0]] = told[1]
	}
	if seen["root"] != first || seen["web"] != repo.git("rev-parse", "HEAD:web") {
		t.Errorf("told %v", seen)
	}
	// A commit outside of the directory is another version of the root, and the same of the directory.
	l.mu.Lock()
	l.refuse = 2 // and what could not be told is told again
	l.mu.Unlock()
	second := repo.write(map[string]string{"api/file": "2"})
	if told := l.next(t); told != [2]string{"root", second} {
		t.Errorf("told %v", told)
	}
	if told := l.next(t); told != [2]string{"web", seen["web"]} {
		t.Errorf("told %v", told)
	}
}

// Without an interval a branch is looked at when somebody knocks.
func TestKnock(t *testing.T) {
	repo := newRepository(t, t.TempDir())
	first := repo.write(map[string]string{"file": "1"})
	l, f := followBranches(t, 0, apron.FollowedBranch{Service: "web", Scope: scopeOf(alice), URL: repo.url(), Branch: "main", SourceDirectory: "/"})
	if told := l.next(t); told[1] != first {
		t.Errorf("told %v", told)
	}
	second := repo.write(map[string]string{"file": "2"})
	f.Knock("web")
	if told := l.next(t); told[1] != second {
		t.Errorf("told %v", told)
	}
}
