package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxMessage is how many characters an error message has at most (service model, shape
// ErrorMessage).
const maxMessage = 600

// findings are the violated constraints of one request, in the words of AWS's front end. Only as
// much text is kept as a message can show, however many there are.
type findings struct {
	n    int
	text strings.Builder
}

// Error returns the message for the client, not yet clipped to maxMessage.
func (f *findings) Error() string {
	if f.n == 1 {
		return "1 validation error detected: " + f.text.String()
	}
	return strconv.Itoa(f.n) + " validation errors detected: " + f.text.String()
}

func (f *findings) add(value, path, constraint string) {
	if f.n++; f.text.Len() > maxMessage*utf8.UTFMax {
		return
	}
	if f.n > 1 {
		f.text.WriteString("; ")
	}
	fmt.Fprintf(&f.text, "%s at '%s' failed to satisfy constraint: %s", value, path, constraint)
}

// report records the constraints of s that the value at the current place breaks.
func (d *decoder) report(value string, s *shape, broken []string) {
	shown := "Value"
	if !s.sensitive {
		shown = "Value '" + clip(value) + "'"
	}
	for _, b := range broken {
		d.found.add(shown, d.path(), b)
	}
}

// checkEntry checks a key or value of the map at the current place. The map's own path is shown:
// the keys of both maps in the API are sensitive.
func (d *decoder) checkEntry(which, text string, s *shape) {
	for _, b := range s.violated(text) {
		d.found.add("Value", d.path(), which+" must satisfy constraint: ["+b+"]")
	}
}

// violated returns the constraints of a string that text breaks, nil for none.
func (s *shape) violated(text string) []string {
	var broken []string
	if s.match != nil && !s.match(text) {
		broken = append(broken, "Member must satisfy regular expression pattern: "+s.pattern)
	}
	if len(s.enum) > 0 && !slices.Contains(s.enum, text) {
		broken = append(broken, "Member must satisfy enum value set: ["+strings.Join(s.enum, ", ")+"]")
	}
	if s.min == noMin && s.max == noMax {
		return broken
	}
	n := len(text)
	if n > s.max || s.min > 0 { // bytes only bound the characters from above
		n = utf8.RuneCountInString(text)
	}
	if n > s.max {
		broken = append(broken, "Member must have length less than or equal to "+strconv.Itoa(s.max))
	}
	if n < s.min {
		broken = append(broken, "Member must have length greater than or equal to "+strconv.Itoa(s.min))
	}
	return broken
}

// outOfRange returns the constraints of an integer that n breaks, nil for none.
func (s *shape) outOfRange(n int) []string {
	switch {
	case n > s.max:
		return []string{"Member must have value less than or equal to " + strconv.Itoa(s.max)}
	case n < s.min:
		return []string{"Member must have value greater than or equal to " + strconv.Itoa(s.min)}
	}
	return nil
}

// clip shortens s to what a message can show, by characters.
func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	n := 0
	for i := range s {
		if n == maxMessage {
			return s[:i]
		}
		n++
	}
	return s
}
