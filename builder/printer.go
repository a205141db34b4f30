package builder

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// Bounds of what a build can make the log hold.
const (
	maxLine   = 4 << 10 // bytes; longer lines are cut up
	tailLines = 5       // of the step that failed, for the reason
)

// printer turns BuildKit's progress into lines: the commands that run, and what they print. It is for
// one goroutine at a time.
type printer struct {
	log      func(line string)
	steps    map[digest.Digest]step
	begun    map[digest.Digest]bool
	told     map[step]bool            // commands that have been shown
	partial  map[digest.Digest][]byte // output behind the last line's end
	order    []digest.Digest          // of partial, as it came
	last     map[digest.Digest][]string
	failures []digest.Digest
}

func newPrinter(log func(string)) *printer {
	return &printer{
		log: func(line string) { log("[Build] " + line) }, steps: map[digest.Digest]step{}, begun: map[digest.Digest]bool{}, told: map[step]bool{},
		partial: map[digest.Digest][]byte{}, last: map[digest.Digest][]string{},
	}
}

func (p *printer) print(s *client.SolveStatus) {
	for _, v := range s.Vertexes {
		p.vertex(v)
	}
	for _, l := range s.Logs {
		p.output(l.Vertex, l.Data)
	}
	for _, v := range s.Vertexes {
		if v.Completed != nil {
			p.end(v.Digest)
		}
	}
}

func (p *printer) vertex(v *client.Vertex) {
	if s, ok := parseStep(v.Name); ok {
		p.steps[v.Digest] = s
		if !p.begun[v.Digest] && (v.Started != nil || v.Cached) {
			p.begun[v.Digest] = true
			switch {
			case !v.Cached:
				p.log(oneLine(s.String()))
			case !p.told[s]: // otherwise it ran a moment ago, for another part of the same build
				p.log(oneLine(s.String()) + " (unchanged, not run again)")
			}
			p.told[s] = true
		}
	}
	if v.Error != "" {
		p.failures = append(p.failures, v.Digest)
	}
}

// oneLine shows a command that may have several.
func oneLine(s string) string {
	first, rest, _ := strings.Cut(strings.TrimSpace(s), "\n")
	if rest != "" {
		first += " …"
	}
	return first[:min(len(first), maxLine)]
}

// output prints the whole lines of what a step has written.
func (p *printer) output(of digest.Digest, text []byte) {
	if _, ok := p.partial[of]; !ok {
		p.order = append(p.order, of)
	}
	all := append(p.partial[of], text...)
	for {
		at := bytes.IndexByte(all, '\n')
		if at < 0 && len(all) > maxLine {
			at = maxLine
		}
		if at < 0 {
			break
		}
		p.line(of, all[:at])
		if all[at] == '\n' {
			at++
		}
		all = all[at:]
	}
	p.partial[of] = all
}

// line prints one line: of one that overwrites itself (progress bars), what is seen in the end.
func (p *printer) line(of digest.Digest, b []byte) {
	b = bytes.TrimRight(b, "\r")
	if at := bytes.LastIndexByte(b, '\r'); at >= 0 {
		b = b[at+1:]
	}
	line := strings.ToValidUTF8(string(escapes.ReplaceAll(b, nil)), "\uFFFD")
	p.log(line)
	if strings.TrimSpace(line) != "" {
		kept := append(p.last[of], strings.TrimSpace(line))
		p.last[of] = kept[max(0, len(kept)-tailLines):]
	}
}

// escapes are the sequences that colour a terminal or move its cursor (ECMA-48, 5.4).
var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[@-Z\\\\^_]")

// end prints what a step wrote without a line's end.
func (p *printer) end(of digest.Digest) {
	if rest := p.partial[of]; len(rest) > 0 {
		p.partial[of] = nil
		p.line(of, rest)
	}
}

func (p *printer) flush() {
	for _, of := range p.order {
		p.end(of)
	}
}

// failed returns the command that failed first.
func (p *printer) failed() (step, bool) {
	for _, d := range p.failures {
		if s, ok := p.steps[d]; ok {
			return s, true
		}
	}
	return step{}, false
}

// tail returns the last lines of the command that failed, none of them long.
func (p *printer) tail() []string {
	for _, d := range p.failures {
		if _, ok := p.steps[d]; ok {
			lines := p.last[d]
			for i, l := range lines {
				lines[i] = strings.ToValidUTF8(l[:min(len(l), 200)], "")
			}
			return lines
		}
	}
	return nil
}
