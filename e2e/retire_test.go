package e2e_test

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"apron"
	"apron/server"
)

// TestUpdateDoesNotWaitForTheOldVersion updates an application that does not end when it is asked to,
// and is at work on a request. The update ends while the old version still runs, a crash of everything but
// the router and another update come in between, and then the old ones are gone.
func TestUpdateDoesNotWaitForTheOldVersion(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	config := func(version string) *apprunner.CreateServiceInput {
		return input("web1", image, map[string]string{"MODE": "stubborn", "VERSION": version})
	}
	in := config("one")
	in.Tags = []types.Tag{{Key: aws.String("apron:stop-timeout"), Value: aws.String("15s")}}
	svc := h.running(t, in)
	first := h.instanceOf(t, svc)
	slow := h.ask(t, svc, "/slow?for=20s")

	update := func(version string) {
		t.Helper()
		_, err := h.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{
			ServiceArn: svc.ServiceArn, SourceConfiguration: config(version).SourceConfiguration,
		})
		if err != nil {
			t.Fatal(err)
		}
		h.settled(t, svc.ServiceArn)
		if op := h.operations(t, svc)[0]; op.Status != types.OperationStatusSucceeded {
			t.Fatalf("operation is %s; events:\n%s", op.Status, h.events(t, svc))
		}
		h.answers(t, svc, "version="+version+" ")
	}
	update("two")
	second := h.instanceOf(t, svc)
	h.wantRuns(t, slow, first, second)
	h.kill(t, "serve")
	h.kill(t, "engine")
	h.start(t)
	h.wantRuns(t, slow, first, second)
	update("three")
	h.wantRuns(t, slow, first)
	h.wantRuns(t, nil, second) // it has been asked to end, and has 15 s for that
	if body := <-slow; body != "version=one at last\n" {
		t.Errorf("the request from before was answered %q", body)
	}
	third := h.instanceOf(t, svc)
	eventually(t, "the old versions to be gone", func() bool {
		return slices.Equal(slices.Collect(maps.Values(shims(h.data))), []string{third})
	})
	h.wantNothingLost(t, false)
}

// TestCommandsRunInTheVersionThatServes runs commands while an instance of the version before has a request
// to finish, which must not find themselves in it: it ends with them.
func TestCommandsRunInTheVersionThatServes(t *testing.T) {
	h := newHome(t)
	image := h.push(t)
	svc := h.running(t, input("web1", image, map[string]string{"VERSION": "one"}))
	first := h.instanceOf(t, svc)
	slow := h.ask(t, svc, "/slow?for=1m")
	_, err := h.client.UpdateService(t.Context(), &apprunner.UpdateServiceInput{
		ServiceArn: svc.ServiceArn, SourceConfiguration: input("web1", image, map[string]string{"VERSION": "two"}).SourceConfiguration,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.settled(t, svc.ServiceArn)
	second := h.instanceOf(t, svc)
	h.wantRuns(t, slow, first, second)
	const commands = 8 // the engine lists instances in no order
	for range commands {
		options := server.ExecOptions{Service: apron.ServiceID(aws.ToString(svc.ServiceId))}
		if code, err := h.local.Exec(t.Context(), options, server.Command{Args: []string{"/app/app", "copy", "0"}}); code != 0 || err != nil {
			t.Fatalf("the command ended with code %d, %v", code, err)
		}
	}
	h.wantRuns(t, slow, first, second)
	if n := strings.Count(h.events(t, svc), " runs a command in instance "+second); n != commands {
		t.Errorf("%d of %d commands ran in instance %s:\n%s", n, commands, second, h.events(t, svc))
	}
}

// ask returns once an instance is at work on the request, and sends on what it answers.
func (h *home) ask(t *testing.T, svc *types.Service, path string) (answer chan string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.local.HTTP+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = aws.ToString(svc.ServiceUrl)
	arrived := make(chan error, 1)
	answer = make(chan string, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		arrived <- err
		if err != nil {
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			b = []byte(err.Error())
		}
		answer <- string(b)
	}()
	if err := <-arrived; err != nil {
		t.Fatal(err)
	}
	return answer
}

// instanceOf returns the id of the instance that answers.
func (h *home) instanceOf(t *testing.T, svc *types.Service) string {
	t.Helper()
	_, body, err := h.get(t.Context(), svc, "/")
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(instanceOf(body), "instance=")
	for _, id := range shims(h.data) {
		if strings.HasPrefix(id, host) {
			return id
		}
	}
	t.Fatalf("no instance is named like %q", body)
	return ""
}

// wantRuns checks that the instances run, unless the request has been answered by now.
func (h *home) wantRuns(t *testing.T, slow chan string, ids ...string) {
	t.Helper()
	running := slices.Collect(maps.Values(shims(h.data)))
	select {
	case body := <-slow:
		slow <- body
		return
	default:
	}
	for _, id := range ids {
		if !slices.Contains(running, id) {
			t.Errorf("instance %s does not run, only %q", id, running)
		}
	}
}
