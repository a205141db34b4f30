package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"apron"
	"apron/logs"
	"apron/router"
)

// accessStream is the name of the third log stream of a service: one line of JSON for each request.
// There is none unless the service has the tag apron:access-log=on.
const accessStream = "access"

// AccessLine is one request as the access log of a service has it.
type AccessLine struct {
	Time      time.Time `json:"time"` // when its header had come
	Client    string    `json:"client"`
	Method    string    `json:"method"`
	Host      string    `json:"host"`
	Target    string    `json:"target"` // path and query
	Protocol  string    `json:"protocol"`
	Status    int       `json:"status"` // 499: the client left before there was an answer
	Bytes     int64     `json:"bytes"`  // of the answer's body
	Millis    float64   `json:"ms"`     // until the answer had been sent
	Upstream  float64   `json:"upstreamMs"`
	Referer   string    `json:"referer,omitempty"`
	UserAgent string    `json:"userAgent,omitempty"`
	RequestID string    `json:"requestId"` // X-Request-Id, which the application was sent
	Revision  string    `json:"revision"`
	Instance  string    `json:"instance,omitempty"` // empty: none answered
}

func newAccessLine(a router.Access) AccessLine {
	millis := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return AccessLine{
		Time: a.Time.UTC(), Client: a.Client, Method: a.Method, Host: a.Host, Target: a.Target, Protocol: a.Protocol,
		Status: a.Status, Bytes: a.Bytes, Millis: millis(a.Duration), Upstream: millis(a.Upstream),
		Referer: a.Referer, UserAgent: a.UserAgent, RequestID: a.RequestID,
		Revision: string(a.Revision), Instance: string(a.Instance),
	}
}

// Combined returns the line in the combined log format of web servers, with the request's id behind
// it. What could break a line, or a terminal, is escaped.
func (l AccessLine) Combined() string {
	orDash := func(s string) string {
		if s == "" {
			return "-"
		}
		return quoted(s)
	}
	return fmt.Sprintf(`%s - - [%s] "%s %s %s" %d %d "%s" "%s" %s`, l.Client, l.Time.Format("02/Jan/2006:15:04:05 -0700"),
		quoted(l.Method), quoted(l.Target), l.Protocol, l.Status, l.Bytes, orDash(l.Referer), orDash(l.UserAgent), orDash(l.RequestID))
}

// quoted escapes s as a Go string, without the quotes around it.
func quoted(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// accessLog writes the records the router sends.
type accessLog struct {
	logs *logs.Store
	log  *slog.Logger
}

// write appends records to the streams of their services. A disk that cannot be written costs lines,
// never requests.
func (l accessLog) write(records []router.Access, dropped uint64) {
	if dropped > 0 {
		l.log.Warn("requests are missing in access logs: there were more than could be written", "count", dropped)
	}
	for len(records) > 0 {
		var lines []string
		service, rest := records[0].Service, records[:0]
		for _, a := range records {
			if a.Service != service {
				rest = append(rest, a)
				continue
			}
			lines = append(lines, encodeLine(newAccessLine(a)))
		}
		if err := l.logs.Append(logs.Stream{Service: service, Name: accessStream}, time.Now(), lines...); err != nil {
			l.log.Error("write access log", "service", service, "err", err)
		}
		records = rest
	}
}

func encodeLine(l AccessLine) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return "" // it holds nothing that cannot be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Access returns the newest lines of a service's access log, oldest first, at most limit of them (0:
// all).
func (l Local) Access(id apron.ServiceID, limit int) ([]AccessLine, error) {
	s, err := logs.Open(serviceLogDir(l.Data))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	events, err := s.Read(logs.Stream{Service: id, Name: accessStream}, limit)
	if err != nil {
		return nil, err
	}
	lines := make([]AccessLine, 0, len(events))
	for _, e := range events {
		var line AccessLine
		if json.Unmarshal([]byte(e.Message), &line) == nil {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
