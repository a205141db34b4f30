package deploy_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"apron"
	"apron/builder"
	"apron/control"
	"apron/source"
)

// code is a repository with a work tree, and a stand-in for the builder: the image it makes answers
// with what the file "answer" holds.
type code struct {
	w              *world
	dir, checkouts string
	git            *source.Git

	mu    sync.Mutex     // guards the fields below
	plans []builder.Plan // of the builds so far
	token string         // that connections have
	away  error          // what Build answers, if set
}

// withCode makes the world's control plane build from source code, and a repository with a service in
// it that says v1.
func (w *world) withCode() *code {
	w.Helper()
	c := &code{w: w, dir: w.TempDir(), checkouts: filepath.Join(w.TempDir(), "checkouts")}
	var err error
	if c.git, err = source.NewGit(source.GitConfig{Dir: w.TempDir(), AllowLocal: true}); err != nil {
		w.Fatal(err)
	}
	c.run("init", "--quiet", "--initial-branch=main", ".")
	c.write(map[string]string{"answer": "v1", "apprunner.yaml": file("")})
	w.code = c
	w.boot(nil)
	w.http = w.user()
	return c
}

// file is a configuration file with more at its end.
func file(more string) string {
	return "version: 1.0\nruntime: nodejs22\nbuild:\n  commands:\n    build:\n      - npm ci\nrun:\n  command: node server.js\n" + more
}

// run runs git in the work tree.
func (c *code) run(args ...string) string {
	c.w.Helper()
	cmd := exec.CommandContext(c.w.Context(), "git", args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.w.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// write commits files; an empty one is removed.
func (c *code) write(files map[string]string) string {
	c.w.Helper()
	for name, text := range files {
		full := filepath.Join(c.dir, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		if err == nil && text != "" {
			err = os.WriteFile(full, []byte(text), 0o644)
		} else if err == nil {
			err = os.Remove(full)
		}
		if err != nil {
			c.w.Fatal(err)
		}
	}
	c.run("add", "--all")
	c.run("commit", "--quiet", "-m", "change")
	return c.run("rev-parse", "HEAD")
}

// source is the repository as a service has it.
func (c *code) source() apron.SourceConfiguration {
	return apron.SourceConfiguration{Code: &apron.CodeRepository{
		URL: "file://" + c.dir, Branch: "main", SourceDirectory: "/", ConfigurationSource: apron.ConfigurationFromRepository,
	}}
}

// create creates a service from the source and waits for the end.
func (c *code) create(s apron.SourceConfiguration, tags ...apron.Tag) apron.Service {
	c.w.Helper()
	config := c.w.config()
	config.Source = s
	return c.w.begin(c.w.plane.CreateService(c.w.Context(), c.w.scope, control.NewService{Name: "web", Config: config, Tags: tags}))
}

// deploy starts a deployment and waits for the end.
func (c *code) deploy(svc apron.Service) apron.Service {
	c.w.Helper()
	op, err := c.w.plane.StartDeployment(c.w.Context(), c.w.scope, svc.ARN().String())
	if err != nil {
		c.w.Fatal(err)
	}
	c.w.await(op)
	return c.w.service(svc.ID)
}

func (c *code) credential(_ context.Context, arn string) (source.GitCredential, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return source.GitCredential{Token: c.token + " of " + arn, Hosts: apron.TokenHosts{Names: []string{"github.com"}, Loopback: true}}, nil
}

// Build implements deploy.Builder.
func (c *code) Build(_ context.Context, plan builder.Plan, log func(string)) (builder.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plans = append(c.plans, plan)
	log("[Build] > " + strings.Join(plan.Build, " && "))
	if c.away != nil {
		return builder.Result{}, fmt.Errorf("fetch image: %w", c.away)
	}
	answer, err := os.ReadFile(filepath.Join(plan.Dir, plan.SourceDirectory, "answer"))
	if err != nil {
		return builder.Result{}, apron.Faultf(apron.Invalid, "Failed to build your application source code. Reason: Failed to execute 'build' command.")
	}
	sum := sha256.Sum256([]byte(string(plan.Revision) + string(answer)))
	image := apron.Image{Digest: "sha256:" + hex.EncodeToString(sum[:])}
	image.Reference = "built.example.com/" + string(plan.Service) + "@" + image.Digest
	behaviour := says(string(answer))
	if string(answer) == "exits" {
		behaviour = exits()
	}
	c.w.engine.Image(image.Reference, behaviour)
	return builder.Result{Image: image, RuntimeVersion: "22.1.0", Warnings: []string{"It is a stand-in."}}, nil
}

// builds returns the plans of the builds so far.
func (c *code) builds() []builder.Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plans
}
