package server

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzReadFrame reads frames that anybody may have written, and writes back what it read.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, '{', '}'})
	f.Add([]byte{3, 0, 0, 0, 4, 0, 80, 0, 25})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{9, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		kind, payload, err := readFrame(r)
		if err != nil {
			if !errors.Is(err, errFrame) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error is %v", err)
			}
			return
		}
		var out bytes.Buffer
		if err := (&frameWriter{w: &out}).write(kind, payload); err != nil {
			t.Fatal(err)
		}
		if read := b[:len(b)-r.Len()]; !bytes.Equal(out.Bytes(), read) {
			t.Errorf("read %x and wrote %x", read, out.Bytes())
		}
	})
}

func TestFrameStreamCutsLongWrites(t *testing.T) {
	long := bytes.Repeat([]byte("x"), maxFrame+1)
	var out bytes.Buffer
	n, err := (&frameWriter{w: &out}).stream(frameOutput).Write(long)
	if n != len(long) || err != nil {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	var got []byte
	for range 2 {
		kind, b, err := readFrame(&out)
		if kind != frameOutput || err != nil {
			t.Fatalf("frame of kind %d, %v", kind, err)
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, long) {
		t.Errorf("read %d bytes of %d", len(got), len(long))
	}
}

func TestQuoteArgs(t *testing.T) {
	got := quoteArgs([]string{"sh", "-c", "echo $HOME; ls", "", "a\nb"})
	if want := `sh -c "echo $HOME; ls" "" "a\nb"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
