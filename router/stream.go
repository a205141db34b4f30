package router

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"apron"
)

// The stream between a control plane and a router carries frames in both directions: four bytes of
// length, big endian, then a message as JSON. Either side may have dialled. Both begin with a
// hello, the control plane first; a message without any member only shows that the sender is alive.
const (
	protocolVersion = 1
	maxFrame        = 64 << 20         // bytes of a message; a table of 100,000 hosts takes about 25 MB
	helloTimeout    = 5 * time.Second  // for the peer's hello
	writeTimeout    = 10 * time.Second // for one frame
	pingInterval    = 10 * time.Second // between frames at most
	silenceLimit    = 30 * time.Second // after which a peer is given up
)

// message is one frame. At most one member is set.
type message struct {
	Hello        *hello             `json:",omitempty"`
	Table        *apron.RouteTable  `json:",omitempty"` // down
	Certificates *certificateSet    `json:",omitempty"` // down
	Watch        []apron.InstanceID `json:",omitempty"` // down: tell when these have drained
	Applied      *applied           `json:",omitempty"` // up: the table is in effect, or refused
	Installed    *applied           `json:",omitempty"` // up: the same of certificates
	Drained      []apron.InstanceID `json:",omitempty"` // up
	Load         *Load              `json:",omitempty"` // up
	Access       *accessRecords     `json:",omitempty"` // up
	Replaced     bool               `json:",omitempty"` // up: another control plane took over; last message
}

// hello opens a stream. The router tells its addresses and its table; the control plane nothing but
// the protocol it speaks.
type hello struct {
	Protocol  int
	Table     apron.RouteTable
	Addresses Addresses
}

type certificateSet struct {
	Version uint64
	List    []Certificate
}

// applied acknowledges a version; Refused says why it is not in effect.
type applied struct {
	Version uint64
	Refused string `json:",omitempty"`
}

type accessRecords struct {
	Records []Access
	Dropped uint64
}

// ErrProtocol is returned when the other end of a stream speaks another version of the protocol:
// router and control plane are of releases that cannot work together.
var ErrProtocol = errors.New("the router and the control plane speak different protocols")

// frames sends and receives messages. One goroutine may send while another receives.
type frames struct {
	conn net.Conn
	in   bytes.Buffer
}

// send writes one message.
func (f *frames) send(m message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("message of %d bytes is longer than %d", len(body), maxFrame)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	if err := f.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	if _, err := f.conn.Write(append(frame, body...)); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// receive reads one message, waiting at most limit for all of it.
func (f *frames) receive(limit time.Duration) (message, error) {
	if err := f.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return message{}, fmt.Errorf("receive message: %w", err)
	}
	return readMessage(f.conn, &f.in)
}

// readMessage reads one frame into buf and decodes it. It takes no more memory than bytes arrive.
func readMessage(r io.Reader, buf *bytes.Buffer) (message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return message{}, fmt.Errorf("receive message: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return message{}, fmt.Errorf("receive message: %d bytes is longer than %d", n, maxFrame)
	}
	if buf.Cap() > 1<<20 {
		*buf = bytes.Buffer{} // one large table must not hold its memory for ever
	}
	buf.Reset()
	if _, err := io.CopyN(buf, r, int64(n)); err != nil {
		return message{}, fmt.Errorf("receive message: %w", err)
	}
	var m message
	if err := json.Unmarshal(buf.Bytes(), &m); err != nil {
		return message{}, fmt.Errorf("receive message: %w", err)
	}
	return m, nil
}

// receiveHello reads the peer's hello, which must be its first message.
func (f *frames) receiveHello() (hello, error) {
	m, err := f.receive(helloTimeout)
	if err != nil {
		return hello{}, err
	}
	if m.Hello == nil || m.Hello.Protocol != protocolVersion {
		return hello{}, ErrProtocol
	}
	return *m.Hello, nil
}

// sendHello sends ours.
func (f *frames) sendHello(h hello) error {
	h.Protocol = protocolVersion
	return f.send(message{Hello: &h})
}
