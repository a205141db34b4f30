package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"time"
)

// kind is the JSON form of a shape.
type kind uint8

const (
	kindString kind = iota
	kindInteger
	kindBoolean
	kindList
	kindMap
	kindStructure
)

// Limits of a shape that has none.
const (
	noMin = math.MinInt
	noMax = math.MaxInt
)

// shape is what the service model says about a value in a request.
type shape struct {
	name      string
	kind      kind
	min, max  int               // of a string's length in characters, or of an integer; noMin, noMax
	pattern   string            // as clients are shown it; empty: none
	match     func(string) bool // whether the whole value satisfies pattern; nil: not checked
	enum      []string          // the values allowed; empty: any
	sensitive bool              // the value must not appear in messages and logs
	key       *shape            // of a map
	of        *shape            // element of a list, value of a map
	members   []member          // of a structure, at most 64; field i of the Go struct is member i
}

type member struct {
	name     string // on the wire
	path     string // in messages
	shape    *shape
	required bool
}

// model is what the service model says about an action.
type model struct {
	name   string
	input  *shape
	in     reflect.Type // the Go struct of input
	out    reflect.Type // the Go struct of the output
	errors exceptions   // what the action may answer besides the common errors
}

// List is a list that is always on the wire: nil encodes as [].
type List[T any] []T

// MarshalJSON encodes l as a JSON array, never as null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return encode([]T(l))
}

// encode returns v as JSON without the escapes for HTML that encoding/json adds by default.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Timestamp is a time on the wire: a JSON number of seconds since 1970, with milliseconds as its
// fraction (service model, shape Timestamp; SDKs reject anything but a number).
type Timestamp struct{ time.Time }

// UnmarshalJSON decodes epoch seconds, for those who read what MarshalJSON wrote.
func (t *Timestamp) UnmarshalJSON(b []byte) error {
	seconds, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(seconds) || math.Abs(seconds) > 1<<40 {
		return errors.New("a time is not a number of seconds")
	}
	t.Time = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	return nil
}

// MarshalJSON encodes t as epoch seconds. What is finer than a millisecond is dropped.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	ms := t.UnixMilli()
	b := strconv.AppendInt(nil, ms/1000, 10)
	frac := ms % 1000
	if frac == 0 {
		return b, nil
	}
	if frac < 0 { // before 1970: keep sign and fraction apart
		return strconv.AppendFloat(nil, float64(ms)/1000, 'f', -1, 64), nil
	}
	b = append(b, '.', byte('0'+frac/100), byte('0'+frac/10%10), byte('0'+frac%10))
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b, nil
}
