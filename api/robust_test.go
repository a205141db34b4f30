package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"apron/api"
)

// TestHostileBodies sends what no client would to every action. Each is refused as the model says,
// and nothing is left of it.
func TestHostileBodies(t *testing.T) {
	f := newFront(t)
	f.populate(t)
	before := f.everything(t)
	deep := strings.Repeat("[", 100_000)
	bodies := map[string]struct {
		body      string
		status    int
		exception string
	}{
		"over 4 MiB":                {`{"x":"` + strings.Repeat("x", 4<<20) + `"}`, 413, "RequestEntityTooLargeException"},
		"deep lists":                {`{"x":` + deep, 400, "SerializationException"},
		"deep lists that end":       {`{"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, 400, "SerializationException"},
		"deep objects":              {strings.Repeat(`{"x":`, 100_000), 400, "SerializationException"},
		"invalid UTF-8 in a value":  {"{\"x\":\"\xff\"}", 400, "SerializationException"},
		"invalid UTF-8 in a name":   {"{\"\xc3\x28\":1}", 400, "SerializationException"},
		"an overlong form":          {"{\"x\":\"\xc0\xaf\"}", 400, "SerializationException"},
		"half a surrogate pair":     {`{"x":"\ud83d"}`, 400, "SerializationException"},
		"a name twice":              {`{"x":1,"x":1}`, 400, "SerializationException"},
		"a name twice, by escape":   {`{"x":1,"\u0078":1}`, 400, "SerializationException"},
		"a name twice, deep inside": {`{"x":[{"y":{"z":1,"z":1}}]}`, 400, "SerializationException"},
		"not a number":              {`{"x":-}`, 400, "SerializationException"},
	}
	for _, a := range loadModel(t).Actions {
		for name, tt := range bodies {
			w := f.call(t, a.Name, tt.body)
			if p := problemOf(t, w); w.Code != tt.status || p.Type != tt.exception || p.Message == "" {
				t.Errorf("%s, %s: %d %+v", a.Name, name, w.Code, p)
			}
		}
	}
	same(t, before, f.everything(t))
}

// TestNumbersOutOfRange has, for every number of the model, those that its range and those that 32
// bits do not hold.
func TestNumbersOutOfRange(t *testing.T) {
	f := newFront(t)
	before := f.everything(t)
	m := loadModel(t)
	for _, a := range m.Actions {
		for _, mb := range m.byName[a.Input].Members {
			s := m.byName[mb.Shape]
			if s.Type != "integer" {
				continue
			}
			body := func(n string) string { return fmt.Sprintf(`{%q:%s}`, mb.Name, n) }
			for _, n := range []string{"2147483648", "-2147483649", "9223372036854775808", "1e400", "-1e-400", "1.5", strings.Repeat("9", 10_000)} {
				f.fails(t, a.Name, body(n), "SerializationException", "can not be converted to an Integer")
			}
			f.fails(t, a.Name, body(fmt.Sprint(*s.Min-1)), invalid, fmt.Sprintf("greater than or equal to %d", *s.Min))
			f.fails(t, a.Name, body("-2147483648"), invalid, fmt.Sprintf("greater than or equal to %d", *s.Min))
			if s.Max != nil {
				f.fails(t, a.Name, body(fmt.Sprint(*s.Max+1)), invalid, fmt.Sprintf("less than or equal to %d", *s.Max))
				f.fails(t, a.Name, body("2147483647"), invalid, fmt.Sprintf("less than or equal to %d", *s.Max))
			}
		}
	}
	same(t, before, f.everything(t))
}

// TestLargestBody takes a request of exactly 4 MiB, which has room for what one service may need.
func TestLargestBody(t *testing.T) {
	f := newFront(t)
	request := serviceRequest("web-app")
	f.ok(t, "CreateService", request+strings.Repeat(" ", 4<<20-len(request)))
	request = serviceRequest("web-two")
	w := f.call(t, "CreateService", request+strings.Repeat(" ", 4<<20-len(request)+1))
	if p := problemOf(t, w); w.Code != http.StatusRequestEntityTooLarge || p.Type != "RequestEntityTooLargeException" {
		t.Errorf("got %d %+v", w.Code, p)
	}
	f.ok(t, "ListServices", "{}").size("ServiceSummaryList", 1)
}

// TestEndlessBody sends chunks for as long as the server takes them, which is for 4 MiB.
func TestEndlessBody(t *testing.T) {
	f := newFront(t)
	got, sent := trickle(t, f.serve(t), fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat(" ", 64<<10)), 0)
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.Contains(got, `"RequestEntityTooLargeException"`) || sent > 16<<20 {
		t.Errorf("after %d bytes: %s", sent, got)
	}
}

// TestTricklingBody sends a byte now and then, which is no way to hold on to the server.
func TestTricklingBody(t *testing.T) {
	f := newFront(t, func(c *api.Config) { c.BodyTimeout = 100 * time.Millisecond })
	got, _ := trickle(t, f.serve(t), "1\r\n \r\n", 5*time.Millisecond)
	if !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.Contains(got, `"RequestTimeoutException"`) {
		t.Errorf("got %s", got)
	}
}

// trickle sends a chunk again and again, every so often, until it is answered, and returns the answer
// and how many bytes the server has taken at most.
func trickle(t *testing.T, url, chunk string, every time.Duration) (answer string, sent int) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	done := make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AppRunner.ListServices\r\nTransfer-Encoding: chunked\r\n\r\n")
		for err == nil { // until the other side has hung up
			<-time.After(every)
			var m int
			m, err = io.WriteString(conn, chunk)
			n += m
		}
	}()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body := make([]byte, 1<<10)
	n, _ := io.ReadFull(res.Body, body)
	conn.Close()
	return fmt.Sprintf("HTTP/1.1 %s\n\n%s", res.Status, body[:n]), <-done
}

// everything returns what the lists say, for comparison.
func (f *front) everything(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, action := range []string{
		"ListServices", "ListConnections", "ListVpcConnectors", "ListVpcIngressConnections", "ListAutoScalingConfigurations", "ListObservabilityConfigurations",
	} {
		w := f.call(t, action, "{}")
		out[action] = w.Body.String()
		if w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", action, w.Code, w.Body)
		}
	}
	return out
}
