package logs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/logs"
)

func open(t *testing.T) (*logs.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := logs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, dir
}

func TestAppendThenRead(t *testing.T) {
	s, _ := open(t)
	op := apron.Operation{ID: "5b2f0c1e-0000-4000-8000-000000000001", Service: "8fe1e10304f84fd2b0df550fe98a71fa"}
	at := time.UnixMilli(1606158325128).UTC()
	for _, stream := range []logs.Stream{{Service: op.Service, Name: logs.Events}, logs.OperationStream(op)} {
		if err := s.Append(stream, at, "one <&>", "two\nlines"); err != nil {
			t.Fatal(err)
		}
		got, err := s.Read(stream, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := []logs.Event{{At: at, Message: "one <&>"}, {At: at, Message: "two\nlines"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", stream.Name, diff)
		}
	}
}

func TestReadReturnsTheNewest(t *testing.T) {
	s, _ := open(t)
	stream := logs.Stream{Service: "a", Name: logs.Events}
	for m := range strings.FieldsSeq("a b c d e f g h i") {
		if err := s.Append(stream, time.Unix(1, 0), m); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Read(stream, 2)
	if err != nil || len(got) != 2 || got[0].Message != "h" || got[1].Message != "i" {
		t.Errorf("got %v, %v; want h and i", got, err)
	}
}

func TestReadOfNothing(t *testing.T) {
	s, _ := open(t)
	if got, err := s.Read(logs.Stream{Service: "a", Name: logs.Events}, 0); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v; want nothing", got, err)
	}
}

func TestReadSkipsALineCutByACrash(t *testing.T) {
	s, dir := open(t)
	stream := logs.Stream{Service: "a", Name: logs.Events}
	if err := s.Append(stream, time.Unix(1, 0), "whole"); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "a", "events.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"t":1,"m":"ha`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if got, err := s.Read(stream, 0); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v; want the whole line alone", got, err)
	}
}

func TestPathsStayInside(t *testing.T) {
	s, dir := open(t)
	if err := s.Append(logs.Stream{Service: "../..", Name: "x"}, time.Unix(1, 0), "m"); err == nil {
		t.Error("a stream outside the directory was written")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(dir)), "x.log")); err == nil {
		t.Error("file made outside the directory")
	}
}

func TestLongMessageIsCut(t *testing.T) {
	s, _ := open(t)
	stream := logs.Stream{Service: "a", Name: logs.Events}
	if err := s.Append(stream, time.Unix(1, 0), strings.Repeat("\x01", 200<<10)); err != nil {
		t.Fatal(err)
	}
	got, err := s.Read(stream, 0)
	if err != nil || len(got) != 1 || len(got[0].Message) != 64<<10 {
		t.Errorf("got %d events, %v; want one of 64 KiB", len(got), err)
	}
}
