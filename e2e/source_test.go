package e2e_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron"
)

// workTree is a repository somebody works in.
type workTree struct {
	testing.TB
	dir string
}

func newWorkTree(t testing.TB) workTree {
	t.Helper()
	w := workTree{t, t.TempDir()}
	w.git("init", "--quiet", "--initial-branch=main", ".")
	return w
}

// git runs git and returns all it prints.
func (w workTree) git(args ...string) string {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), "git", args...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// commit writes files and commits them.
func (w workTree) commit(files map[string]string) {
	w.Helper()
	for name, text := range files {
		full := filepath.Join(w.dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			w.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	w.git("add", "--all")
	w.git("commit", "--quiet", "-m", "change")
}

// nodeServer answers with text, and ends when it is told to.
func nodeServer(text string) string {
	return nodeAnswer("'" + text + "'")
}

// nodeAnswer answers with the value of an expression.
func nodeAnswer(expression string) string {
	return "process.on('SIGTERM', () => process.exit())\n" +
		"require('http').createServer((_, res) => res.end(" + expression + ")).listen(process.env.PORT)\n"
}

const nodeFile = `version: 1.0
runtime: nodejs22
build:
  commands:
    build:
      - test ! -f broken
run:
  command: node server.js
  network:
    port: 3000
`

// repository is the URL of one on the embedded Git host, with credentials as git wants them and
// without.
func (h *home) repository(name string) (push, url string) {
	url = "http://" + h.local.Listen + "/git/" + name + ".git"
	return strings.Replace(url, "http://", "http://"+h.local.Key.ID+":"+h.local.Key.Secret+"@", 1), url
}

// codeInput is a CreateService request for a service from source code.
func codeInput(name, url, dir string) *apprunner.CreateServiceInput {
	return &apprunner.CreateServiceInput{
		ServiceName: aws.String(name),
		SourceConfiguration: &types.SourceConfiguration{CodeRepository: &types.CodeRepository{
			RepositoryUrl: aws.String(url), SourceDirectory: aws.String(dir),
			SourceCodeVersion: &types.SourceCodeVersion{Type: types.SourceCodeVersionTypeBranch, Value: aws.String("main")},
			CodeConfiguration: &types.CodeConfiguration{ConfigurationSource: types.ConfigurationSourceRepository},
		}},
	}
}

// comesToAnswer waits until the service answers with text.
func (h *home) comesToAnswer(t testing.TB, svc *types.Service, text string) {
	t.Helper()
	eventually(t, "the service to answer "+text, func() bool {
		status, body, err := h.get(t.Context(), svc, "/")
		return err == nil && status == http.StatusOK && body == text
	})
}

// wantAnswer asks the service once.
func (h *home) wantAnswer(t testing.TB, svc *types.Service, want string) {
	t.Helper()
	if status, body, err := h.get(t.Context(), svc, "/"); err != nil || status != http.StatusOK || body != want {
		t.Errorf("%s answers %d %q, %v, want %q", aws.ToString(svc.ServiceName), status, body, err, want)
	}
}

// firstBuild bounds the first build of a runtime, which makes its base image.
const firstBuild = 10 * time.Minute

// TestFromSource makes services from source code in the ways there are. They share one Apron, so that
// the base image is made once.
func TestFromSource(t *testing.T) {
	needCommand(t, "git")
	h := newHome(t)
	t.Run("git push", h.testGitPush) // the first: it waits for the base image
	t.Run("large repository", h.testLargeRepository)
	t.Run("another port", h.testAnotherPort)
	t.Run("push to what failed", h.testPushToFailed)
	t.Run("webhook", h.testWebhook)
	t.Run("connection", h.testConnection)
	t.Run("command line", h.testUp)
	t.Run("command line, what is packed is deployed", h.testUpDeploysWhatIsPacked)
	t.Run("boto3", h.testCodeWithBoto3)
	t.Run("Terraform", h.testCodeWithTerraform)
}

// created creates a service from source code and returns it once it runs.
func (h *home) created(t testing.TB, in *apprunner.CreateServiceInput) *types.Service {
	t.Helper()
	svc := h.settle(t, h.create(t, in).ServiceArn)
	if svc.Status != types.ServiceStatusRunning {
		t.Fatalf("service is %s; events:\n%s", svc.Status, h.events(t, svc))
	}
	return svc
}

// settle is settled with the patience that a first build needs.
func (h *home) settle(t testing.TB, arn *string) *types.Service {
	t.Helper()
	limit := time.Now().Add(firstBuild)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		out, err := h.client.DescribeService(t.Context(), &apprunner.DescribeServiceInput{ServiceArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case out.Service.Status != types.ServiceStatusOperationInProgress:
			return out.Service
		case time.Now().After(limit):
			t.Fatalf("waited %s for the service; events:\n%s", firstBuild, h.events(t, out.Service))
		}
	}
}

// The whole way: a repository is pushed, services are made from it, and further pushes deploy those
// they concern.
func (h *home) testGitPush(t *testing.T) {
	work := newWorkTree(t)
	push, url := h.repository("shop")
	work.commit(map[string]string{"apprunner.yaml": nodeFile, "server.js": nodeServer("one"), "api/apprunner.yaml": nodeFile, "api/server.js": nodeServer("api one")})
	if said := work.git("push", push, "main"); !strings.Contains(said, "No service is deployed by pushes to branch main of shop.") {
		t.Errorf("the first push printed\n%s", said)
	}
	shop := h.created(t, codeInput("shop", url, "/"))
	h.wantAnswer(t, shop, "one")
	api := h.created(t, codeInput("shop-api", url, "/api/"))
	h.wantAnswer(t, api, "api one")

	work.commit(map[string]string{"server.js": nodeServer("two")})
	said := work.git("push", push, "main")
	pushed := time.Now()
	for _, want := range []string{"remote: Deploying commit ", "apron logs shop", "remote: Service shop-api stays as it is: nothing has changed in /api/."} {
		if !strings.Contains(said, want) {
			t.Errorf("the push printed no %q:\n%s", want, said)
		}
	}
	if op := h.operations(t, shop)[0]; op.Type != types.OperationTypeStartDeployment {
		t.Errorf("right after the push the newest operation is %s", op.Type)
	}
	h.comesToAnswer(t, shop, "two")
	t.Logf("from the push to the new version: %s", time.Since(pushed))
	h.settled(t, shop.ServiceArn)

	// What cannot be built leaves what serves, and says why.
	work.commit(map[string]string{"broken": "yes"})
	work.git("push", push, "main")
	h.settled(t, shop.ServiceArn)
	h.wantAnswer(t, shop, "two")
	if events := h.events(t, shop); !strings.Contains(events, "Failed to build your application source code. Reason: Failed to execute 'build' command.") {
		t.Errorf("events:\n%s", events)
	}

	// Another branch by UpdateService, after which pushes to the first one are none of its business.
	work.git("rm", "--quiet", "broken")
	work.git("checkout", "--quiet", "-b", "next")
	work.commit(map[string]string{"server.js": nodeServer("three")})
	work.git("push", push, "next")
	in := codeInput("shop", url, "/").SourceConfiguration
	in.CodeRepository.SourceCodeVersion.Value = aws.String("next")
	if _, err := h.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{ServiceArn: shop.ServiceArn, SourceConfiguration: in}); err != nil {
		t.Fatal(err)
	}
	h.settled(t, shop.ServiceArn)
	h.wantAnswer(t, shop, "three")
	h.remove(t, shop)
	h.remove(t, api)
}

// A service in a directory of a repository of 200 MB, none of which compresses: it comes in, deploys,
// and takes a further push in no more time than a small one does.
func (h *home) testLargeRepository(t *testing.T) {
	work := newWorkTree(t)
	work.git("config", "core.compression", "0") // or the push would spend its time on what cannot be made smaller
	work.commit(map[string]string{".gitattributes": "*.bin -delta\n"})
	push, url := h.repository("large")
	random := rand.NewChaCha8([32]byte{7})
	for n := range 20 {
		part := make([]byte, 10<<20)
		_, _ = random.Read(part) // never fails
		work.commit(map[string]string{fmt.Sprintf("assets/%d.bin", n): string(part)})
	}
	work.commit(map[string]string{"app/apprunner.yaml": nodeFile, "app/server.js": nodeAnswer("String(require('fs').statSync('../assets/19.bin').size)")})
	work.git("push", "--quiet", push, "main")
	svc := h.created(t, codeInput("large", url, "app"))
	h.wantAnswer(t, svc, "10485760")
	work.commit(map[string]string{"app/server.js": nodeServer("small change")})
	said := work.git("push", push, "main")
	if !strings.Contains(said, "Deploying commit") {
		t.Errorf("the push printed\n%s", said)
	}
	h.comesToAnswer(t, svc, "small change")
	h.settled(t, svc.ServiceArn)
	h.remove(t, svc)
}

// A server whose port is any free one takes the same port again, and where that is taken it still knows
// its own repositories by the URLs they had.
func (h *home) testAnotherPort(t *testing.T) {
	work := newWorkTree(t)
	push, url := h.repository("moved")
	work.commit(map[string]string{"apprunner.yaml": nodeFile, "server.js": nodeServer("one")})
	work.git("push", "--quiet", push, "main")
	svc := h.created(t, codeInput("moved", url, "/"))
	old := h.local.Listen
	h.kill(t, "serve")
	h.start(t)
	if h.local.Listen != old {
		t.Errorf("the server listens at %s, before at %s", h.local.Listen, old)
	}
	h.kill(t, "serve")
	l, err := net.Listen("tcp", old)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h.start(t)
	if h.local.Listen == old {
		t.Fatal("two listeners have one address")
	}
	push, _ = h.repository("moved")
	work.commit(map[string]string{"server.js": nodeServer("two")})
	if said := work.git("push", push, "main"); !strings.Contains(said, "Deploying commit") {
		t.Errorf("the push printed\n%s", said)
	}
	h.comesToAnswer(t, svc, "two")
	h.settled(t, svc.ServiceArn)
	h.remove(t, svc)
}

// A service that could not be created is not deployed by a push, which says what helps.
func (h *home) testPushToFailed(t *testing.T) {
	work := newWorkTree(t)
	push, url := h.repository("failed")
	work.commit(map[string]string{"server.js": nodeServer("one")})
	work.git("push", "--quiet", push, "main")
	svc := h.settle(t, h.create(t, codeInput("failed", url, "/")).ServiceArn)
	work.commit(map[string]string{"apprunner.yaml": nodeFile})
	if said := work.git("push", push, "main"); !strings.Contains(said, "is CREATE_FAILED and not deployed: update the service to have it built again.") {
		t.Errorf("the push printed\n%s", said)
	}
	h.remove(t, svc)
}

// A repository elsewhere: a webhook has it looked at.
func (h *home) testWebhook(t *testing.T) {
	work := newWorkTree(t)
	work.commit(map[string]string{"apprunner.yaml": nodeFile, "server.js": nodeServer("one")})
	svc := h.created(t, codeInput("hooked", "file://"+work.dir, "/"))
	work.commit(map[string]string{"server.js": nodeServer("two")})
	url, secret, err := h.local.Webhook(apron.ServiceID(aws.ToString(svc.ServiceId)))
	if err != nil {
		t.Fatal(err)
	}
	hook := func(secret, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		sum := hmac.New(sha256.New, []byte(secret))
		sum.Write([]byte(body))
		req.Header.Set("X-GitHub-Event", "push")
		req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(sum.Sum(nil)))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if got := hook("wrong", `{"ref":"refs/heads/main"}`); got != http.StatusUnauthorized {
		t.Errorf("a webhook with a wrong secret: %d", got)
	}
	if got := hook(secret, `{"ref":"refs/heads/other"}`); got != http.StatusOK {
		t.Errorf("a webhook for another branch: %d", got)
	}
	if got := hook(secret, `{"ref":"refs/heads/main"}`); got != http.StatusAccepted {
		t.Errorf("a webhook: %d", got)
	}
	h.comesToAnswer(t, svc, "two")
	h.settled(t, svc.ServiceArn)
	h.remove(t, svc)
}

// A private repository opens with the credential of a connection, which shows up nowhere.
func (h *home) testConnection(t *testing.T) {
	const token = "sesame-1234567890"
	work := newWorkTree(t)
	work.commit(map[string]string{"apprunner.yaml": nodeFile, "server.js": nodeServer("private")})
	backend := &cgi.Handler{
		Path: must(t, exec.LookPath, "git"), Args: []string{"http-backend"}, Dir: work.dir,
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(work.dir), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != token {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	defer srv.Close()
	url := srv.URL + "/" + filepath.Base(work.dir)
	svc := h.settled(t, h.create(t, codeInput("private", url, "/")).ServiceArn)
	if events := h.events(t, svc); svc.Status != types.ServiceStatusCreateFailed || !strings.Contains(events, "No access to the repository "+url) {
		t.Errorf("without a connection the service is %s; events:\n%s", svc.Status, events)
	}
	h.remove(t, svc)
	conn, err := h.client.CreateConnection(t.Context(), &apprunner.CreateConnectionInput{
		ConnectionName: aws.String("private"), ProviderType: types.ProviderTypeGithub,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said := h.run(t, "", filepath.Join(apronBinary(t), "apron"), "--data="+h.data, "connections", "complete", "private", "--token-file="+file)
	if !strings.Contains(string(said), "AVAILABLE") || strings.Contains(string(said), token) {
		t.Errorf("connections complete printed %s", said)
	}
	in := codeInput("private", "https://git.example.com/team/web", "/")
	in.SourceConfiguration.AuthenticationConfiguration = &types.AuthenticationConfiguration{ConnectionArn: conn.Connection.ConnectionArn}
	var invalid *types.InvalidRequestException
	if _, err := h.client.CreateService(t.Context(), in); !errors.As(err, &invalid) || !strings.Contains(invalid.ErrorMessage(), "it is for github.com and this machine") {
		t.Errorf("a connection for another host: %v", err)
	}
	host := strings.TrimPrefix(srv.URL, "http://")
	h.run(t, "", filepath.Join(apronBinary(t), "apron"), "--data="+h.data, "connections", "complete", "private", "--host=git.example.com", "--host="+host)
	said = h.run(t, "", filepath.Join(apronBinary(t), "apron"), "--data="+h.data, "connections", "list")
	if !strings.Contains(string(said), "git.example.com, "+host) {
		t.Errorf("connections list printed %s", said)
	}
	in.SourceConfiguration.CodeRepository.RepositoryUrl = aws.String(url)
	svc = h.created(t, in)
	h.wantAnswer(t, svc, "private")
	h.remove(t, svc)
	if _, err := h.client.DeleteConnection(t.Context(), &apprunner.DeleteConnectionInput{ConnectionArn: conn.Connection.ConnectionArn}); err != nil {
		t.Error(err)
	}
	err = filepath.WalkDir(h.data, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(name, filepath.Join(h.data, "engine")) {
			return nil //nolint:nilerr // what has gone meanwhile holds no token
		}
		text, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(text), token) {
			t.Errorf("%s holds the token", name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// must returns what f returns for s.
func must[T any](t *testing.T, f func(string) (T, error), s string) T {
	t.Helper()
	v, err := f(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// apron up with a directory packs it as it is, deploys it, and the second time updates it.
func (h *home) testUp(t *testing.T) {
	work := newWorkTree(t)
	work.commit(map[string]string{"apprunner.yaml": nodeFile, "server.js": nodeServer("committed"), ".gitignore": "secret\n", "old.js": ""})
	bin := filepath.Join(apronBinary(t), "apron")
	up := func(dir string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), bin, append([]string{"up", "--data=" + h.data, dir}, args...)...)
		cmd.Env = h.environ()
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	plain := filepath.Join(t.TempDir(), "plain") // no Git work tree
	if err := os.Mkdir(plain, 0o755); err != nil {
		t.Fatal(err)
	}
	write(plain, "apprunner.yaml", nodeFile)
	write(plain, ".gitignore", "secret\n")
	for dir, name := range map[string]string{work.dir: "in-git", plain: "plain"} {
		serve := "require('fs').existsSync('secret') ? 'leaked' : "
		for i, text := range []string{"one", "two"} {
			write(dir, "server.js", nodeAnswer(serve+"'"+text+"'"))
			write(dir, "secret", "not for others")
			_ = os.Remove(filepath.Join(dir, "old.js")) // there in one of them, once
			said, err := up(dir, "--name="+name)
			if err != nil {
				t.Fatalf("apron up: %v\n%s", err, said)
			}
			if want := "Packed "; !strings.Contains(said, want) || !strings.Contains(said, "[Build]") || !strings.Contains(said, "http://") {
				t.Errorf("apron up printed\n%s", said)
			}
			svc := h.named(t, name)
			h.wantAnswer(t, svc, text)
			if ops := h.operations(t, svc); len(ops) != i+1 {
				t.Errorf("%d operations after %d times of apron up", len(ops), i+1)
			}
		}
		if said, err := up(dir, "--name="+name); err != nil || !strings.Contains(said, "Nothing has changed.") {
			t.Errorf("apron up of the same: %v\n%s", err, said)
		}
		write(dir, "broken", "yes")
		for range 2 { // the second time nothing new is pushed
			if said, err := up(dir, "--name="+name); err == nil || !strings.Contains(said, "Failed to execute 'build' command.") {
				t.Errorf("apron up of what is broken: %v\n%s", err, said)
			}
		}
		h.wantAnswer(t, h.named(t, name), "two")
		h.remove(t, h.named(t, name))
	}
}

// apron up says that a service runs only when it runs what was packed: also when the push deploys
// nothing, and when another operation is in progress.
func (h *home) testUpDeploysWhatIsPacked(t *testing.T) {
	work, dir := newWorkTree(t), "svc"
	file := strings.Replace(nodeFile, "test ! -f broken", "sleep 2; test ! -f broken", 1)
	write := func(answer string) {
		t.Helper()
		work.commit(map[string]string{"svc/apprunner.yaml": file, "svc/server.js": nodeAnswer("require('fs').readFileSync('../answer')"), "answer": answer})
	}
	up := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(apronBinary(t), "apron"), "up", "--data="+h.data, "--name=packed", filepath.Join(work.dir, dir))
		cmd.Env = h.environ()
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	want := func(answer string) {
		t.Helper()
		if said, err := up(); err != nil {
			t.Fatalf("apron up: %v\n%s", err, said)
		}
		h.wantAnswer(t, h.named(t, "packed"), answer)
	}
	large := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(large) // never fails
	if err := os.WriteFile(filepath.Join(work.dir, "large"), large, 0o644); err != nil {
		t.Fatal(err)
	}
	write("one")
	want("one")
	write("two") // beside the directory
	want("two")

	svc := h.named(t, "packed")
	if _, err := h.client.StartDeployment(t.Context(), &apprunner.StartDeploymentInput{ServiceArn: svc.ServiceArn}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the build to begin", func() bool { return strings.Count(h.events(t, svc), "Starting source code build.") == 3 })
	write("three")
	want("three")

	if _, err := h.client.PauseService(t.Context(), &apprunner.PauseServiceInput{ServiceArn: svc.ServiceArn}); err != nil {
		t.Fatal(err)
	}
	h.settled(t, svc.ServiceArn)
	write("four")
	if said, err := up(); err == nil || !strings.Contains(said, "PAUSED") {
		t.Errorf("apron up of a paused service: %v\n%s", err, said)
	}
	if _, err := h.client.ResumeService(t.Context(), &apprunner.ResumeServiceInput{ServiceArn: svc.ServiceArn}); err != nil {
		t.Fatal(err)
	}
	h.settled(t, svc.ServiceArn)
	want("four")
	var stored int64
	err := filepath.WalkDir(filepath.Join(h.data, "git", "host", "repositories", h.local.Account, "packed.git"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err == nil && st.Mode().IsRegular() {
			stored += st.Size()
		}
		return err
	})
	if err != nil || stored > 2*int64(len(large)) {
		t.Errorf("the Git host has %d bytes, %v: what has not changed was sent again", stored, err)
	}
	h.remove(t, svc)
}

// named returns the service with the name.
func (h *home) named(t *testing.T, name string) *types.Service {
	t.Helper()
	list, err := h.client.ListServices(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list.ServiceSummaryList {
		if aws.ToString(s.ServiceName) == name {
			return h.settled(t, s.ServiceArn)
		}
	}
	t.Fatalf("there is no service %s", name)
	return nil
}

func (h *home) testCodeWithBoto3(t *testing.T) {
	needCommand(t, "python3")
	work := newWorkTree(t)
	work.commit(map[string]string{"server.js": nodeAnswer("process.env.MODE")})
	push, url := h.repository("boto")
	work.git("push", "--quiet", push, "main")
	script := must(t, filepath.Abs, "testdata/boto3_code.py")
	out := h.run(t, "", "python3", script, "http://"+h.local.Listen, url, "http://"+h.local.HTTP)
	if !strings.Contains(string(out), "walked") {
		t.Errorf("boto3 said %q", out)
	}
}

func (h *home) testCodeWithTerraform(t *testing.T) {
	plugins := terraformPlugins(t)
	work := newWorkTree(t)
	work.commit(map[string]string{"apprunner.yaml": nodeFile, "server.js": nodeServer("tf")})
	push, url := h.repository("terraformed")
	work.git("push", "--quiet", push, "main")
	tf := h.terraform(t, plugins, "testdata/code.tf", "repository="+url)
	tf("apply", "-auto-approve")
	tf("plan", "-detailed-exitcode")
	for _, name := range []string{"tf-by-file", "tf-by-api"} {
		h.wantAnswer(t, h.named(t, name), "tf")
	}
	tf("destroy", "-auto-approve")
}
