package source

import "strings"

// Bounds of what is read out of WWW-Authenticate; real challenges have one scheme and three
// parameters.
const (
	maxChallengeBytes = 16 << 10
	maxChallenges     = 8
	maxChallengeParts = 16
)

// challenge is one way to authenticate that a server offers.
type challenge struct {
	scheme string            // lower case
	params map[string]string // by lower-case name; nil for none
}

// parseChallenges reads the values of WWW-Authenticate (RFC 9110, 11.6.1). A value may list several
// challenges, separated by the same commas as their parameters. What does not follow the grammar
// ends the value it stands in; nothing is an error, because the client asks "is there one I can
// answer", no more.
func parseChallenges(values []string) []challenge {
	var list []challenge
	for _, v := range values {
		if len(v) > maxChallengeBytes {
			continue
		}
		s := &challengeScanner{rest: v}
		for len(list) < maxChallenges {
			c, ok := s.next()
			if !ok {
				break
			}
			list = append(list, c)
		}
	}
	return list
}

// challengeScanner reads one header value from its front.
type challengeScanner struct{ rest string }

// next reads a scheme and everything that belongs to it.
func (s *challengeScanner) next() (challenge, bool) {
	s.skip(" \t,")
	scheme := s.token()
	if scheme == "" {
		return challenge{}, false
	}
	c := challenge{scheme: strings.ToLower(scheme)}
	for range maxChallengeParts {
		before := s.rest
		s.skip(" \t,")
		name := s.token()
		if name == "" {
			break
		}
		comma := strings.Contains(before[:len(before)-len(s.rest)], ",")
		value, ok := s.value()
		if !ok {
			if comma { // not a parameter but the next challenge's scheme
				s.rest = before
				return c, true
			}
			continue // a token68, as of Negotiate: of no use here
		}
		if c.params == nil {
			c.params = map[string]string{}
		}
		if key := strings.ToLower(name); c.params[key] == "" {
			c.params[key] = value
		}
	}
	return c, true
}

// value reads "=value" of a parameter; ok is false when there is none.
func (s *challengeScanner) value() (value string, ok bool) {
	rest := strings.TrimLeft(s.rest, " \t")
	rest, ok = strings.CutPrefix(rest, "=")
	if !ok || strings.HasPrefix(rest, "=") || rest == "" || rest[0] == ',' {
		// The padding of a token68 is no value.
		s.rest = strings.TrimLeft(s.rest, "= \t")
		return "", false
	}
	s.rest = strings.TrimLeft(rest, " \t")
	if strings.HasPrefix(s.rest, `"`) {
		return s.quoted(), true
	}
	return s.token(), true
}

// quoted reads a quoted-string; one without an end goes to the end of the header.
func (s *challengeScanner) quoted() string {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String()
		case c == '\\' && i+1 < len(s.rest):
			i++
			b.WriteByte(s.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	s.rest = ""
	return b.String()
}

func (s *challengeScanner) skip(chars string) { s.rest = strings.TrimLeft(s.rest, chars) }

// token reads the characters of a token or token68, which covers unquoted values as well.
func (s *challengeScanner) token() string {
	i := 0
	for i < len(s.rest) && isTokenByte(s.rest[i]) {
		i++
	}
	t := s.rest[:i]
	s.rest = s.rest[i:]
	return t
}

func isTokenByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~/:", c) >= 0
}
