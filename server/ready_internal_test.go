package server

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestAwaitReady(t *testing.T) {
	for name, row := range map[string]struct {
		said string
		want string // of the error; empty: ready
	}{
		"at once":        {said: "\n"},
		"after steps":    {said: "30s\n2m0s\n30s\n\n"},
		"died":           {said: "30s\n", want: "ended before"},
		"never began":    {want: "ended before"},
		"something else": {said: "hello\n\n", want: "in another way"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := w.WriteString(row.said); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			err = awaitReady(t.Context(), r)
			if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) {
				t.Errorf("awaitReady after %q: %v, want %q", row.said, err, row.want)
			}
		})
	}
}

// A process that says how long its next step may take is given that time and not more.
func TestAwaitReadyIsPatientPerStep(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	const step = time.Second
	go func() {
		for range 6 {
			_, _ = w.WriteString(step.String() + "\n")
			time.Sleep(step / 5)
		}
	}()
	start := time.Now()
	err = awaitReady(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), "nothing happened for 1s") {
		t.Errorf("awaitReady: %v, want to hear that nothing happened", err)
	}
	if took := time.Since(start); took < 2*step || took > stepPatience/2 {
		t.Errorf("it waited %s, for six steps of a fifth of %s and nothing after them", took, step)
	}
}

func TestAwaitReadyEndsWithItsContext(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := awaitReady(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("awaitReady: %v, want the context's error", err)
	}
}
