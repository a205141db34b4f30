// Package logs keeps the log streams of services: the events stream that tells a service's life in
// App Runner's words, and one stream per operation with its detail.
//
// A stream is one append-only file of JSON lines below the directory given to Open, named like the
// CloudWatch stream it stands for (developer guide, "log groups and streams"). Package deploy
// writes; the command line and the console read.
package logs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"apron"
)

// maxMessage bounds one event's message in bytes; CloudWatch's own limit is 256 KiB.
const maxMessage = 64 << 10

// Events is the name of the stream that tells a service's life.
const Events = "events"

// Stream names one log stream of a service.
type Stream struct {
	Service apron.ServiceID
	Name    string // Events, or the name OperationStream returns
}

// OperationStream returns the stream of one operation: deployment/<id without dashes>.
func OperationStream(op apron.Operation) Stream {
	return Stream{Service: op.Service, Name: "deployment/" + ShortID(op.ID)}
}

// ShortID returns an operation id as logs print it: 32 hex digits without dashes.
func ShortID(id apron.OperationID) string { return strings.ReplaceAll(string(id), "-", "") }

// Event is one entry of a stream.
type Event struct {
	At      time.Time
	Message string
}

// line is an Event as stored.
type line struct {
	At      int64  `json:"t"` // milliseconds since the epoch, as CloudWatch counts
	Message string `json:"m"`
}

// Store is a directory of streams. It is safe for concurrent use, also by several processes:
// every append is one write to a file opened for appending.
type Store struct {
	root *os.Root
}

// Open returns the streams below dir, which is made if absent. Close releases the directory.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open log directory: %w", err)
	}
	return &Store{root: root}, nil
}

// Close releases the directory. Nothing is buffered, so nothing can be lost.
func (s *Store) Close() error { return s.root.Close() }

// Append adds one event per message to the stream. A message over 64 KiB is cut.
func (s *Store) Append(stream Stream, at time.Time, messages ...string) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	for _, m := range messages {
		if len(m) > maxMessage {
			m = strings.ToValidUTF8(m[:maxMessage], "")
		}
		if err := enc.Encode(line{At: at.UnixMilli(), Message: m}); err != nil {
			return fmt.Errorf("encode log event: %w", err)
		}
	}
	name := stream.file()
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.root.MkdirAll(path.Dir(name), 0o700); err == nil {
			f, err = s.root.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("open log stream: %w", err)
	}
	_, err = f.Write(buf.Bytes())
	return errors.Join(err, f.Close())
}

// Read returns the newest events of the stream, oldest first, at most limit of them (0: all). A
// stream nothing was written to has none.
func (s *Store) Read(stream Stream, limit int) ([]Event, error) {
	f, err := s.root.Open(stream.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open log stream: %w", err)
	}
	defer f.Close()
	return read(f, limit)
}

// read decodes events, leaving out a last line that a crash cut short.
func read(r io.Reader, limit int) ([]Event, error) {
	var events []Event
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 8*maxMessage) // escaping can lengthen a message up to six times
	for sc.Scan() {
		var l line
		if json.Unmarshal(sc.Bytes(), &l) != nil {
			continue
		}
		events = append(events, Event{At: time.UnixMilli(l.At).UTC(), Message: l.Message})
		if limit > 0 && len(events) > 2*limit {
			events = append(events[:0], events[len(events)-limit:]...)
		}
	}
	if limit > 0 && len(events) > limit {
		events = events[len(events)-limit:]
	}
	return events, sc.Err()
}

func (st Stream) file() string { return path.Join(string(st.Service), st.Name+".log") }
