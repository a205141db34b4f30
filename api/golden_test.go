package api_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"apron"
)

var update = flag.Bool("update", false, "rewrite the answers in testdata")

// TestGolden replays requests as clients sent them and compares the whole answers. A file's
// sections are "request" (without signature and date, which are made here), "response", "status",
// which sets a service's status as the operation runner would, "handshake", which completes the
// connection it names, and "walk", which moves on the statuses that need no runner. TestClients
// records the files that are named after a client.
//
// Ids are random: each is written as a numbered stand-in, in answers and in later requests.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			replay(t, file)
		})
	}
}

func replay(t *testing.T, path string) {
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, ids := newFront(t), standIns{}
	var got string
	var out []txtar.File
	for _, file := range ar.Files {
		content := ids.restore(string(file.Data))
		switch {
		case strings.HasSuffix(file.Name, "request"):
			out = append(out, file)
			f.advance(1500 * time.Millisecond)
			got = ids.hide(f.replay(t, content))
			out = append(out, txtar.File{Name: strings.Replace(file.Name, "request", "response", 1), Data: []byte(got)})
		case strings.HasSuffix(file.Name, "status"):
			out = append(out, file)
			arn, status, _ := strings.Cut(strings.TrimSpace(content), " ")
			f.settle(t, arn, apron.ServiceStatus(status))
		case strings.HasSuffix(file.Name, "handshake"):
			out = append(out, file)
			f.handshake(t, strings.TrimSpace(content))
		case strings.HasSuffix(file.Name, "walk"):
			out = append(out, file)
			f.walk(t)
		case strings.HasSuffix(file.Name, "response") && !*update:
			if diff := cmp.Diff(string(file.Data), got); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", file.Name, diff)
			}
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(&txtar.Archive{Comment: ar.Comment, Files: out}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// replay sends a request as it stands in a file, signed, and returns the answer in the same form.
func (f *front) replay(t *testing.T, raw string) string {
	head, body, _ := strings.Cut(raw, "\n\n")
	body = strings.TrimSuffix(body, "\n")
	head = strings.ReplaceAll(head, "\n", "\r\n") + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(body))
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + body)))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Host = r.Host // the signer looks here, the server at the header
	if !strings.Contains(head, "Unsigned: ") {
		s := signing{key: keyID, region: region, service: "apprunner", at: f.clock(), r: r}
		if r.Header.Get("X-Amz-Target") == "" && strings.Contains(body, "Action=") {
			s.service = "sts"
		}
		sign(t, s, body)
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	res := w.Result()
	var lines []string
	if res.StatusCode >= http.StatusInternalServerError {
		t.Errorf("%s\n%s", raw, f.log)
	}
	delete(res.Header, "Content-Length") // random ids differ from their stand-ins
	for name, values := range res.Header {
		lines = append(lines, name+": "+strings.Join(values, ", "))
	}
	slices.Sort(lines)
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return "HTTP/1.1 " + res.Status + "\n" + strings.Join(lines, "\n") + "\n\n" + string(answer) + "\n"
}

// standIns maps random ids to their stand-ins.
type standIns map[string]string

var (
	random = regexp.MustCompile(`[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-z]{10}\.us-east-1\.|` +
		`2a57j7[0-9a-z]{25}|[a-z]{10}\.acm-validations`)
	fixed = regexp.MustCompile(`^0{31}1$|^0{8}-|^0123456789abcdef`)
	token = regexp.MustCompile(`"NextToken": ?"([^"]+)"`)
)

func (s standIns) hide(text string) string {
	for _, m := range token.FindAllStringSubmatch(text, -1) {
		if s[m[1]] == "" {
			s[m[1]] = fmt.Sprintf("token-%d", len(s)+1)
		}
		text = strings.ReplaceAll(text, m[1], s[m[1]])
	}
	return random.ReplaceAllStringFunc(text, func(id string) string {
		if fixed.MatchString(id) {
			return id
		}
		if s[id] == "" {
			n := len(s) + 1
			switch {
			case strings.HasPrefix(id, "2a57j7"):
				s[id] = fmt.Sprintf("2a57j7odd%04d", n)
			case strings.HasSuffix(id, ".acm-validations"):
				s[id] = fmt.Sprintf("value%04d.acm-validations", n)
			case strings.HasSuffix(id, "."):
				s[id] = fmt.Sprintf("host00%04d.us-east-1.", n)
			case len(id) == 36:
				s[id] = fmt.Sprintf("99999999-9999-4999-8999-99999999%04d", n)
			default:
				s[id] = fmt.Sprintf("9999999999999999999999999999%04d", n)
			}
		}
		return s[id]
	})
}

func (s standIns) restore(text string) string {
	for id, standIn := range s {
		text = strings.ReplaceAll(text, standIn, id)
	}
	return text
}
