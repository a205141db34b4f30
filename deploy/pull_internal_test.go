package deploy

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/logs"
)

func TestProgressOfAPull(t *testing.T) {
	store, err := logs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := &deployer{Config{Logs: store, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}}
	op := apron.Operation{ID: "0123456789abcdef0123456789abcdef", Service: "0123456789abcdef0123456789abcdef", Type: apron.OperationCreate}
	report := d.pulling(op)
	for second := range 60 {
		now = now.Add(time.Second)
		report(int64(second)*10e6, 350e6) // and 350 MB from second 35 on
		if second >= 35 {
			report(350e6, 350e6)
			break
		}
	}
	quick := d.pulling(op)
	quick(100e6, 200e6)
	quick(200e6, 200e6)
	events, err := store.Read(logs.OperationStream(op), 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.Message)
	}
	if diff := cmp.Diff([]string{
		"[AppRunner] Pulling your application image: 20 of 350 MB (5%).",
		"[AppRunner] Pulling your application image: 120 of 350 MB (34%).",
		"[AppRunner] Pulling your application image: 220 of 350 MB (62%).",
		"[AppRunner] Pulling your application image: 320 of 350 MB (91%).",
		"[AppRunner] Pulling your application image: 350 of 350 MB (100%).",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
