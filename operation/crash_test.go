package operation_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"apron"
	"apron/operation"
	"apron/store"
	"apron/store/storetest"
)

// The environment of a child, which is this test binary again.
const (
	childDSN     = "APRON_CHILD_DSN"     // the store; set: be a child
	childJournal = "APRON_CHILD_JOURNAL" // file to which every step adds a line
	childKill    = "APRON_CHILD_KILL"    // the moment at which to die
	childFail    = "APRON_CHILD_FAIL"    // set: the second step fails for good
)

func TestMain(m *testing.M) {
	if os.Getenv(childDSN) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := child(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// reached dies as from a power cut if this is the moment.
func reached(moment string) {
	if os.Getenv(childKill) == moment {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// child runs the operation in the store to its end.
func child() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := store.Open(ctx, os.Getenv(childDSN))
	if err != nil {
		return err
	}
	defer s.Close()
	lines, err := os.OpenFile(os.Getenv(childJournal), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer lines.Close()
	step := func(name string, fault error) operation.Step {
		return operation.Step{Name: name, Run: func(context.Context, apron.Operation) error {
			reached("before " + name)
			if _, err := fmt.Fprintln(lines, name); err != nil {
				return err
			}
			reached("after " + name)
			return fault
		}}
	}
	var fault error
	if os.Getenv(childFail) != "" {
		fault = apron.Faultf(apron.Invalid, "It does not work.")
	}
	runner := operation.New(operation.Config{
		Store: s, Name: "child", Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		AfterStep: func(_ apron.Operation, step string) { reached("checkpoint " + step) },
		Plans: map[apron.OperationType]operation.Plan{apron.OperationUpdate: {
			Steps: []operation.Step{step("one", nil), step("two", fault), step("three", nil)},
			Undo:  []operation.Step{step("undo one", nil), step("undo two", nil)},
			End: func(ctx context.Context, tx *store.Tx, op apron.Operation, ok bool) error {
				svc, err := tx.Service(ctx, op.Service)
				if err != nil {
					return err
				}
				svc.Status = apron.ServiceRunning
				if !ok {
					svc.Status = apron.ServiceCreateFailed
				}
				if err := tx.UpdateService(ctx, svc); err != nil {
					return err
				}
				reached("end")
				cancel() // Run returns after the transaction
				return nil
			},
			Rollback: rollback(true),
		}},
	})
	return runner.Run(ctx)
}

// TestCrash kills a process at every boundary of an operation that succeeds and of one that fails,
// starts it again, and expects the same end every time.
func TestCrash(t *testing.T) {
	for name, tc := range map[string]struct {
		fail    string
		steps   []string // in order
		status  apron.OperationStatus
		service apron.ServiceStatus
	}{
		"success": {"", []string{"one", "two", "three"}, apron.OperationSucceeded, apron.ServiceRunning},
		"failure": {"yes", []string{"one", "two", "undo one", "undo two"}, apron.OperationRollbackSucceeded, apron.ServiceCreateFailed},
	} {
		moments := []string{"end"}
		for _, step := range tc.steps {
			moments = append(moments, "before "+step, "after "+step)
			if step != "two" || tc.fail == "" {
				moments = append(moments, "checkpoint "+step)
			}
		}
		for _, moment := range moments {
			t.Run(name+"/"+moment, func(t *testing.T) {
				t.Parallel()
				storetest.EachDSN(t, func(t *testing.T, dsn string) {
					s := storetest.OpenDSN(t, dsn)
					queue(t, s)
					journal := filepath.Join(t.TempDir(), "journal")
					if err := runChild(t, dsn, journal, moment, tc.fail); !killed(err) {
						t.Fatalf("first run: got %v, want it killed", err)
					}
					if op := stored(t, s, operationID); op.Status.Final() {
						t.Fatalf("after the crash: got %s", op.Status)
					}
					if err := runChild(t, dsn, journal, "", tc.fail); err != nil {
						t.Fatalf("second run: %v", err)
					}
					op := stored(t, s, operationID)
					svc, err := s.Service(t.Context(), serviceID)
					if err != nil || op.Status != tc.status || svc.Status != tc.service {
						t.Errorf("got operation %s, service %s, %v", op.Status, svc.Status, err)
					}
					if want := "It does not work."; (op.Reason == want) != (tc.fail != "") {
						t.Errorf("got reason %q", op.Reason)
					}
					b, err := os.ReadFile(journal)
					if err != nil {
						t.Fatal(err)
					}
					got := strings.Split(strings.TrimSpace(string(b)), "\n")
					if want := journalAfter(tc.steps, moment); !slices.Equal(got, want) {
						t.Errorf("got journal %q, want %q", got, want)
					}
				})
			})
		}
	}
}

// journalAfter returns the steps a crash at the moment leads to: each once, but for the one that
// had done its work without a checkpoint.
func journalAfter(steps []string, moment string) []string {
	var want []string
	for _, step := range steps {
		want = append(want, step)
		if moment == "after "+step {
			want = append(want, step)
		}
	}
	return want
}

func runChild(t *testing.T, dsn, journal, moment, fail string) error {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	// A race-enabled process otherwise lingers for a second before it exits.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", childDSN+"="+dsn, childJournal+"="+journal, childKill+"="+moment, childFail+"="+fail)
	var log bytes.Buffer
	cmd.Stderr = &log
	err = cmd.Run()
	t.Logf("child until %q: %v\n%s", moment, err, &log)
	return err
}

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
