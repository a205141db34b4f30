package router

import (
	"errors"
	"strconv"
)

const (
	maxChunkDigits    = 16      // of a chunk's size
	maxChunkExtension = 256     // bytes of it
	maxTrailer        = 8 << 10 // bytes of a trailer section
)

// errChunk is a body whose chunked coding two readers could disagree about.
var errChunk = errors.New("the body's chunked coding is malformed")

// chunks decodes chunked coding (RFC 9112 section 7.1) piece by piece. The zero value is before the
// first byte.
type chunks struct {
	framed  bool // keep what is around the data, less extensions, so that what is kept can be sent chunked
	state   chunkState
	left    int64 // of the chunk's data
	digits  int
	extra   int    // bytes of the extension so far
	named   bool   // it began with its semicolon
	trailer []byte // section so far, its empty line included once done
}

type chunkState uint8

const (
	chunkStart chunkState = iota // before the first digit of a size
	chunkSize
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkDone
)

// reset prepares for a body, keeping memory.
func (d *chunks) reset(framed bool) { *d = chunks{framed: framed, trailer: d.trailer[:0]} }

func (d *chunks) done() bool { return d.state == chunkDone }

// next decodes b in place: b[:kept] is what to pass on, b[used:] is behind the body. The trailer
// section is not among what is kept; appendEnd writes it.
func (d *chunks) next(b []byte) (kept, used int, err error) {
	i := 0
	for i < len(b) && d.state != chunkDone {
		from, frame := i, true // b[from:i] is what the state took; frame: it is no data
		switch d.state {
		case chunkData:
			n := int(min(d.left, int64(len(b)-i)))
			i += n
			if d.left -= int64(n); d.left == 0 {
				d.state = chunkDataCR
			}
			frame = false
		case chunkTrailer:
			n, err := d.takeTrailer(b[i:])
			if i += n; err != nil {
				return kept, i, err
			}
			continue
		default:
			if !d.line(b[i]) {
				return kept, i, errChunk
			}
			i++
			if d.state == chunkExtension {
				continue
			}
		}
		if frame && !d.framed {
			continue
		}
		if kept != from {
			copy(b[kept:], b[from:i])
		}
		kept += i - from
	}
	return kept, i, nil
}

// line takes one byte of what is around the data of chunks, and reports whether it belongs there.
func (d *chunks) line(c byte) bool {
	switch d.state {
	case chunkStart, chunkSize:
		switch {
		case byteClass[c]&hexByte != 0:
			d.digits++
			d.left = d.left<<4 | hexValue(c)
			d.state = chunkSize
			return d.digits <= maxChunkDigits && d.left < 1<<58
		case d.state == chunkStart:
			return false
		case c == '\r':
			d.state = chunkSizeLF
			return true
		default:
			d.extra, d.named = 0, c == ';'
			d.state = chunkExtension
			return c == ';' || c == ' ' || c == '\t'
		}
	case chunkExtension:
		if d.extra++; c == '\r' {
			d.state = chunkSizeLF
		} else if !d.named {
			// Behind white space nothing may come: a second number is none of ours to ignore, and an
			// extension is not taken there by all readers.
			if c != ' ' && c != '\t' {
				return false
			}
		}
		return d.extra <= maxChunkExtension && (c == '\r' || c == '\t' || c >= ' ' && c != 0x7f)
	case chunkSizeLF:
		d.digits = 0
		if d.state = chunkData; d.left == 0 {
			d.state = chunkTrailer
		}
		return c == '\n'
	case chunkDataCR:
		d.state = chunkDataLF
		return c == '\r'
	default: // chunkDataLF
		d.state = chunkStart
		return c == '\n'
	}
}

// takeTrailer takes bytes of the trailer section, up to and with its empty line.
func (d *chunks) takeTrailer(b []byte) (used int, err error) {
	for used < len(b) {
		c := b[used]
		used++
		if len(d.trailer) == maxTrailer {
			return used, errChunk
		}
		d.trailer = append(d.trailer, c)
		n := len(d.trailer)
		if c != '\n' {
			continue
		}
		if n < 2 || d.trailer[n-2] != '\r' {
			return used, errChunk
		}
		if n == 2 || n >= 4 && d.trailer[n-3] == '\n' {
			d.state = chunkDone
			return used, d.checkTrailer()
		}
	}
	return used, nil
}

func (d *chunks) checkTrailer() error {
	var h head
	if len(d.trailer) > 2 && !h.parseFields(d.trailer, maxFields) {
		return errChunk
	}
	return nil
}

// appendEnd appends what ends the kept chunked body: its trailer fields, but none that has to do
// with how messages are read or routed (RFC 9110 section 6.5.1), and the empty line.
func (d *chunks) appendEnd(dst []byte) []byte {
	if len(d.trailer) > 2 {
		var h head
		h.parseFields(d.trailer, maxFields) // checked when it was complete
		for _, f := range h.fields {
			if f.kind == plainField {
				dst = appendField(dst, f.name, f.value)
			}
		}
	}
	return append(dst, "\r\n"...)
}

func hexValue(c byte) int64 {
	switch {
	case c <= '9':
		return int64(c - '0')
	case c >= 'a':
		return int64(c-'a') + 10
	default:
		return int64(c-'A') + 10
	}
}

func appendField(dst, name, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// appendChunkSize appends the line before a chunk of n bytes.
func appendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendInt(dst, int64(n), 16), "\r\n"...)
}
