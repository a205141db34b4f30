package api_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"apron"
)

var capture = flag.Bool("capture", false, "have real clients send the requests in testdata anew")

// TestClients has real clients go through all actions of the API: the AWS SDK for Go, boto3 and the
// AWS CLI. Each checks the answers it gets. With -capture
// what they send is kept in testdata for TestGolden, which writes the answers with -update.
func TestClients(t *testing.T) {
	tests := map[string]struct {
		program, script string
	}{
		"go":    {},
		"boto3": {program: "python3", script: "testdata/walk.py"},
		"cli":   {program: "bash", script: "testdata/walk.sh"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			rec := &recorder{t: t, f: newFront(t, realTime), ids: standIns{}}
			s := httptest.NewServer(rec)
			defer s.Close()
			version := goWalkVersion
			if tt.program == "" {
				goWalk(t, s.URL)
			} else {
				version = external(t, s.URL, tt.program, tt.script)
			}
			version, lacks, old := strings.Cut(version, " lacks ") // a client of a distribution may be older than an action
			missing := slices.DeleteFunc(rec.missing(t), func(action string) bool {
				return slices.Contains(strings.Fields(lacks), action)
			})
			if len(missing) > 0 {
				t.Errorf("actions not called: %v", missing)
			}
			if *capture && old {
				t.Fatalf("%s is too old to capture from: it lacks %s", version, lacks)
			}
			if *capture {
				rec.write(t, "testdata/"+name+".txtar", "Requests of "+version+".\n\n")
			}
		})
	}
}

// external runs a client of another language, and returns what it calls itself.
func external(t *testing.T, url, program, script string) string {
	cmd := exec.CommandContext(t.Context(), program, script)
	cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+url, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region, "AWS_ACCESS_KEY_ID="+keyID,
		"AWS_SECRET_ACCESS_KEY="+secret, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 77 || errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("in CI nothing may be missing: there is nothing to run %s with", script)
		}
		t.Skipf("there is nothing to run %s with", script)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// recorder keeps what a client sends, and does the operation runner's part after each answer.
type recorder struct {
	t       *testing.T
	f       *front
	lenient bool // the client may be told of errors

	mu    sync.Mutex // guards the fields below, and keeps answers and what follows them together
	ids   standIns
	files []txtar.File
	n     int
}

func (c *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := httptest.NewRecorder()
	c.f.advance(1500 * time.Millisecond)
	c.f.ServeHTTP(answer, r)
	if answer.Code != http.StatusOK && !c.lenient {
		c.t.Errorf("%s %s: %d %s", r.Header.Get("X-Amz-Target"), body, answer.Code, answer.Body)
	}
	c.ids.hide(answer.Body.String())
	c.n++
	c.add("request", requestText(r)+"\n"+string(body)+"\n")
	if answer.Code == http.StatusOK {
		c.follow(strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AppRunner."), body, answer.Body.Bytes())
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// add appends a section. Only answers bring new ids, so that each has the same stand-in in a replay.
func (c *recorder) add(kind, content string) {
	for id, standIn := range c.ids {
		content = strings.ReplaceAll(content, id, standIn)
	}
	c.files = append(c.files, txtar.File{Name: fmt.Sprintf("%02d %s", c.n, kind), Data: []byte(content)})
}

// follow has what an action began come to its end.
func (c *recorder) follow(action string, body, answer []byte) {
	if status, ok := settled()[action]; ok {
		arn := operatedService(c.t, body, answer)
		c.f.settle(c.t, arn, status)
		c.add("status", arn+" "+string(status)+"\n")
	}
	if regexp.MustCompile(`VpcIngressConnection$|ssociateCustomDomain$`).MatchString(action) {
		c.f.walk(c.t)
		c.add("walk", "")
	}
}

// settled returns the status of a service after the operation that each action begins.
func settled() map[string]apron.ServiceStatus {
	return map[string]apron.ServiceStatus{
		"CreateService": apron.ServiceRunning, "UpdateService": apron.ServiceRunning, "StartDeployment": apron.ServiceRunning,
		"PauseService": apron.ServicePaused, "ResumeService": apron.ServiceRunning, "DeleteService": apron.ServiceDeleted,
	}
}

// operatedService returns the ARN of the service an operation began on.
func operatedService(t *testing.T, body, answer []byte) string {
	var named struct {
		ServiceArn string                      // of a request
		Service    struct{ ServiceArn string } // of the answer to one that names none
	}
	if err := errors.Join(json.Unmarshal(body, &named), json.Unmarshal(answer, &named)); err != nil {
		t.Error(err)
	}
	return cmp.Or(named.ServiceArn, named.Service.ServiceArn)
}

// requestText returns a request's head without what differs each time.
func requestText(r *http.Request) string {
	lines := []string{}
	for name, values := range r.Header {
		switch name {
		case "Authorization", "X-Amz-Date", "Amz-Sdk-Invocation-Id", "User-Agent", "Content-Length":
		default:
			lines = append(lines, name+": "+strings.Join(values, ", ")+"\n")
		}
	}
	slices.Sort(lines)
	return r.Method + " " + r.URL.RequestURI() + " HTTP/1.1\nHost: 127.0.0.1:4080\n" + strings.Join(lines, "")
}

func (c *recorder) missing(t *testing.T) (names []string) {
	all := string(txtar.Format(&txtar.Archive{Files: c.files}))
	for _, a := range loadModel(t).Actions {
		if !strings.Contains(all, "X-Amz-Target: AppRunner."+a.Name+"\n") {
			names = append(names, a.Name)
		}
	}
	if !strings.Contains(all, "\nAction=GetCallerIdentity&") {
		names = append(names, "GetCallerIdentity")
	}
	return names
}

func (c *recorder) write(t *testing.T, path, comment string) {
	if err := os.WriteFile(path, txtar.Format(&txtar.Archive{Comment: []byte(comment), Files: c.files}), 0o644); err != nil {
		t.Fatal(err)
	}
}
