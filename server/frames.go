package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// frameKind tells what a frame of a command's conversation carries.
type frameKind byte

// The frames. The first one of a conversation is the command, the last one its exit.
const (
	frameCommand  frameKind = iota // from the client: commandFrame as JSON
	frameInput                     // from the client: bytes of standard input
	frameInputEnd                  // from the client: there are no more
	frameResize                    // from the client: columns and rows of the terminal, 2 bytes each
	frameOutput                    // from the server: bytes of standard output
	frameErrors                    // from the server: bytes of standard error
	frameExit                      // from the server: exitFrame as JSON
	frameKinds                     // how many there are
)

// maxFrame bounds what a frame carries, in bytes.
const maxFrame = 64 << 10

// errFrame is what a reader says of bytes that are no frame.
var errFrame = errors.New("not a frame")

// readFrame reads one frame: its kind, its length in four bytes, and what it carries.
func readFrame(r io.Reader) (frameKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	kind, n := frameKind(head[0]), binary.BigEndian.Uint32(head[1:])
	if kind >= frameKinds || n > maxFrame {
		return 0, nil, errFrame
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return kind, b, nil
}

// frameWriter writes frames of several senders to one stream. Safe for concurrent use.
type frameWriter struct {
	mu sync.Mutex // keeps frames whole
	w  io.Writer
}

func (f *frameWriter) write(kind frameKind, payload []byte) error {
	b := make([]byte, 5, 5+len(payload))
	b[0] = byte(kind)
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.w.Write(append(b, payload...)); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// stream returns a writer that sends what it is given in frames of the kind.
func (f *frameWriter) stream(kind frameKind) io.Writer { return frameStream{f, kind} }

type frameStream struct {
	to   *frameWriter
	kind frameKind
}

// Write implements io.Writer.
func (s frameStream) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+maxFrame)]
		if err := s.to.write(s.kind, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}
