package server

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron/logs"
	"apron/router"
)

func TestAccessLog(t *testing.T) {
	data := t.TempDir()
	store, err := logs.Open(serviceLogDir(data))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	at := time.Date(2026, 11, 26, 5, 22, 33, 123456789, time.UTC)
	a := router.Access{
		Time: at, Service: "web", Revision: "r1", Instance: "i1", Method: "GET", Host: "web.example.com", Status: 200,
		Duration: 1500 * time.Microsecond, Upstream: time.Millisecond, Bytes: 5, Client: "192.0.2.1", Target: "/a?b=<c>",
		Protocol: "HTTP/1.1", UserAgent: "evil\"\x1b[2J\nagent", RequestID: "id",
	}
	other := router.Access{Time: at, Service: "other", Method: "POST", Target: "/", Protocol: "HTTP/2.0", Status: 503, Client: "::1"}
	accessLog{logs: store, log: slog.New(slog.DiscardHandler)}.write([]router.Access{a, other, a}, 0)

	local := Local{Data: data}
	got, err := local.Access("web", 0)
	if err != nil {
		t.Fatal(err)
	}
	want := newAccessLine(a)
	if diff := cmp.Diff([]AccessLine{want, want}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if line, want := got[0].Combined(), `192.0.2.1 - - [26/Nov/2026:05:22:33 +0000] "GET /a?b=<c> HTTP/1.1" 200 5 "-" "evil\"\x1b[2J\nagent" id`; line != want {
		t.Errorf("combined:\n%s, want\n%s", line, want)
	}
	if got, err := local.Access("other", 1); err != nil || len(got) != 1 || got[0].Status != 503 {
		t.Errorf("other: %+v %v", got, err)
	}
	if got, err := local.Access("none", 1); err != nil || len(got) != 0 {
		t.Errorf("a service without one: %+v %v", got, err)
	}
	if files, err := filepath.Glob(filepath.Join(serviceLogDir(data), "web", "access.log")); err != nil || len(files) != 1 {
		t.Errorf("files %v %v", files, err)
	}
}
