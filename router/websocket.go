package router

import "encoding/binary"

// frameEdge follows one direction of a WebSocket connection to know where a frame ends (RFC 6455
// section 5.2): only there can the router say something of its own. The zero value is at an edge.
type frameEdge struct {
	head [14]byte
	have int    // bytes of head
	left uint64 // of the payload
}

// pass takes in bytes that were passed on.
func (e *frameEdge) pass(b []byte) {
	for len(b) > 0 {
		if e.left > 0 {
			n := min(e.left, uint64(len(b)))
			e.left -= n
			b = b[n:]
			continue
		}
		e.head[e.have] = b[0]
		e.have++
		b = b[1:]
		if e.have == e.headLen() {
			e.left = e.payload()
			e.have = 0
		}
	}
}

// headLen returns how long the header is as far as can be told.
func (e *frameEdge) headLen() int {
	if e.have < 2 {
		return 2
	}
	n := 2
	switch e.head[1] & 0x7f {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	if e.head[1]&0x80 != 0 {
		n += 4 // the mask
	}
	return n
}

func (e *frameEdge) payload() uint64 {
	switch n := e.head[1] & 0x7f; n {
	case 126:
		return uint64(binary.BigEndian.Uint16(e.head[2:]))
	case 127:
		return binary.BigEndian.Uint64(e.head[2:])
	default:
		return uint64(n)
	}
}

func (e *frameEdge) atEdge() bool { return e.have == 0 && e.left == 0 }

// A close frame that says 1001, going away (RFC 6455 section 7.4.1), for the user and, masked as a
// user's must be, for the instance. The mask need not be random: it holds nothing chosen by anybody.
const (
	goingAway       = "\x88\x02\x03\xe9"
	goingAwayMasked = "\x88\x82\x00\x00\x00\x00\x03\xe9"
)
