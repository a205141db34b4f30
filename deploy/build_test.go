package deploy_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apron"
	"apron/builder"
	"apron/control"
	"apron/logs"
)

// detail returns the lines of the service's newest operation.
func (w *world) detail(id apron.ServiceID) string {
	w.Helper()
	all, err := w.logs.Read(logs.OperationStream(w.last(id)), 0)
	if err != nil {
		w.Fatal(err)
	}
	var text strings.Builder
	for _, e := range all {
		text.WriteString(e.Message + "\n")
	}
	return text.String()
}

func TestCreateFromSourceCode(t *testing.T) {
	w := newWorld(t)
	c := w.withCode()
	more := "  runtime-version: 22.1\n  network:\n    port: 9000\n    env: APP_PORT\n  env:\n    - name: MODE\n      value: on\ncolour: red\n"
	commit := c.write(map[string]string{"apprunner.yaml": file(more)})
	s := c.source()
	s.AutoDeployments = true
	s.Code.Values = &apron.CodeConfigurationValues{Runtime: "GO_1", Run: apron.RunConfiguration{Port: "1"}} // has no effect, is shown
	svc := c.create(s)
	w.wantStatus(svc.ID, apron.ServiceRunning)
	if got := w.get(svc); got != "v1" {
		t.Errorf("the service answers %q", got)
	}
	w.wantSettled(svc.ID, 1)
	url := s.Code.URL
	w.wantEvents(svc.ID, 0,
		"Service status is set to OPERATION_IN_PROGRESS.",
		"Service creation started.",
		"Creating pipeline for automatic deployments.",
		"Successfully created pipeline for automatic deployments.",
		"Deployment with ID : <id> started. Triggering event : SERVICE_CREATE",
		"Deployment Artifact: [Repo Type: Source], [Repository: "+url+"], [Branch: main], [SourceDirectory: /]",
		"Pulling source code from GIT Repository ( "+url+" ).",
		"Successfully pulled your application source code.",
		"Reading apprunner.yaml config file.",
		"Successfully validate configuration file.",
		"Starting source code build.",
		"Successfully built your application source code.",
		"Provisioning instances and deploying image for publicly accessible service.",
		"Performing health check on protocol `TCP` [Port: '9000'].",
		"Health check is successful. Routing traffic to application.",
		"Successfully routed incoming traffic to application.",
		"Service status is set to RUNNING.",
		"Service creation completed successfully.")
	for _, want := range []string{
		"[AppRunner] Commit: " + commit + ", branch main.\n", "[AppRunner] apprunner.yaml, line 16, colour: unknown and ignored.\n",
		"\n[Build] > npm ci\n", "[AppRunner] It is a stand-in.\n",
	} {
		if got := w.detail(svc.ID); !strings.Contains(got, want) {
			t.Errorf("the deployment's log lacks %q:\n%s", want, got)
		}
	}
	wantPlan := []builder.Plan{{
		Service: svc.ID, Revision: svc.Active, Scope: w.scope, Runtime: "nodejs22", RuntimeVersion: "22.1",
		Build: []string{"npm ci"}, Command: "node server.js", Port: 9000,
	}}
	if diff := cmp.Diff(wantPlan, c.builds(), cmpopts.IgnoreFields(builder.Plan{}, "Dir")); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	rev, err := w.store.Revision(t.Context(), svc.Active)
	if err != nil {
		t.Fatal(err)
	}
	wantRun := apron.RunConfiguration{Port: "9000", StartCommand: "node server.js", Env: map[string]string{"MODE": "on", "APP_PORT": "9000"}}
	if diff := cmp.Diff(wantRun, rev.Run(), cmpopts.EquateEmpty()); diff != "" || rev.Build.Commit != commit || rev.Build.RuntimeVersion != "22.1.0" {
		t.Errorf("build is %+v (-want +got):\n%s", rev.Build, diff)
	}
	spec, _, _ := w.engine.Asked(svc.Active)
	if env := strings.Join(spec.Env, " "); spec.Port != 9000 || spec.Command != nil || !strings.Contains(env, "APP_PORT=9000") ||
		!strings.Contains(env, "MODE=on") || !strings.Contains(env, "PORT=9000") {
		t.Errorf("instances are asked for as %+v", spec)
	}
	if diff := cmp.Diff(s, svc.Config.Source); diff != "" {
		t.Errorf("the service shows (-sent +shown):\n%s", diff)
	}
	if left, err := os.ReadDir(c.checkouts); err != nil || len(left) != 0 {
		t.Errorf("source code is left: %v, %v", left, err)
	}
}

func TestBuildByAPI(t *testing.T) {
	w := newWorld(t)
	c := w.withCode()
	c.write(map[string]string{"a dir/web/answer": "v2", "a dir/web/apprunner.yaml": "not read"})
	s := c.source()
	s.Code.ConfigurationSource, s.Code.SourceDirectory = apron.ConfigurationFromAPI, "/a dir/web/"
	s.Code.Values = &apron.CodeConfigurationValues{
		Runtime: "PYTHON_311", BuildCommand: "pip3 install x && true",
		Run: apron.RunConfiguration{Port: "3000", StartCommand: "python3 app.py", Env: map[string]string{"A": "b"}},
	}
	svc := c.create(s)
	w.wantStatus(svc.ID, apron.ServiceRunning)
	if got := w.get(svc); got != "v2" {
		t.Errorf("the service answers %q", got)
	}
	plan := c.builds()[0]
	if plan.Runtime != "python311" || len(plan.Build) != 1 || plan.BuildEnv != nil || plan.SourceDirectory != "a dir/web" ||
		plan.Command != "python3 app.py" || plan.Port != 3000 {
		t.Errorf("plan %+v", plan)
	}
	if got := w.detail(svc.ID); !strings.Contains(got, "There is an apprunner.yaml, which is not read") {
		t.Errorf("the deployment's log:\n%s", got)
	}
}

func TestBuildDockerfile(t *testing.T) {
	w := newWorld(t)
	c := w.withCode()
	c.write(map[string]string{"apprunner.yaml": ""})
	svc := c.create(c.source(), apron.Tag{Key: "apron:dockerfile", Value: "build/Dockerfile"})
	w.wantStatus(svc.ID, apron.ServiceRunning)
	if plan := c.builds()[0]; plan.Runtime != builder.RuntimeDocker || plan.Dockerfile != "build/Dockerfile" || plan.Port != 8080 {
		t.Errorf("plan %+v", plan)
	}
}

// What cannot be built is told with its reason, in App Runner's words first, and so is each new attempt.
func TestBuildFails(t *testing.T) {
	tests := map[string]struct {
		files  map[string]string
		change func(*apron.CodeRepository)
		want   string
		events []string // between the artifact and the reason
	}{
		"no repository": {
			change: func(c *apron.CodeRepository) { c.URL += "/nope" },
			want:   "Failed to pull your application source code. Reason: The repository",
		},
		"no branch": {
			change: func(c *apron.CodeRepository) { c.Branch = "master" },
			want:   "has no branch master. It has main.",
		},
		"no directory": {
			change: func(c *apron.CodeRepository) { c.SourceDirectory = "/web" },
			want:   "Reason: The repository has no directory /web at the head of branch main.",
		},
		"no file": {
			files: map[string]string{"apprunner.yaml": "", "apprunner.yml": file("")},
			want:  "Failed to validate configuration file: there is no apprunner.yaml in the source directory /; a file apprunner.yml is there, but that name is not read.",
		},
		"invalid file": {
			files: map[string]string{"apprunner.yaml": file("  network:\n    port: http\n")},
			want:  "Failed to validate configuration file: line 10, run.network.port: it is no port number, 1 to 65535.",
		},
		"secrets": {
			files: map[string]string{"apprunner.yaml": file("  secrets:\n    - name: A\n      value-from: b\n")},
			want:  "Secrets (RuntimeEnvironmentSecrets) are not available yet",
		},
		"broken build": {
			files: map[string]string{"answer": ""},
			want:  "Failed to build your application source code. Reason: Failed to execute 'build' command.",
		},
		"exits": {files: map[string]string{"answer": "exits"}, want: "Container exit code: 3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c := w.withCode()
			if tt.files != nil {
				c.write(tt.files)
			}
			s := c.source()
			if tt.change != nil {
				tt.change(s.Code)
			}
			svc := c.create(s)
			for i, failed := range []string{"Service creation failed.", "Service update failed."} {
				if i > 0 {
					svc = w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), control.ServicePatch{}, nil))
				}
				w.wantStatus(svc.ID, apron.ServiceCreateFailed)
				op := w.last(svc.ID)
				if op.Status != apron.OperationFailed || !strings.Contains(op.Reason, tt.want) {
					t.Errorf("operation is %s because %q, want %q", op.Status, op.Reason, tt.want)
				}
				lines := w.events(svc.ID)
				n := len(lines)
				if lines[n-1] != "[AppRunner] Service status is set to CREATE_FAILED." || !strings.Contains(lines[n-2], failed) ||
					!strings.Contains(strings.Join(lines, "\n"), tt.want) {
					t.Errorf("events:\n%s", strings.Join(lines, "\n"))
				}
			}
			w.wantEngine(nil)
			if left, err := os.ReadDir(c.checkouts); err != nil || len(left) != 0 {
				t.Errorf("source code is left: %v, %v", left, err)
			}
		})
	}
}

// When source code is built again, and when what there is is kept.
func TestBuildAgain(t *testing.T) {
	w := newWorld(t)
	c := w.withCode()
	svc := c.create(c.source())
	code := func(change func(*control.CodePatch)) control.ServicePatch {
		p := control.CodePatch{URL: c.source().Code.URL, Branch: "main"}
		if change != nil {
			change(&p)
		}
		return control.ServicePatch{Source: &control.SourcePatch{Code: &p}}
	}
	on, size := true, 2048
	steps := []struct {
		name   string
		do     func() apron.Service
		builds int
		want   string
	}{
		{"a deployment of what serves", func() apron.Service { return c.deploy(svc) }, 2, "v1"},
		{"an update of something else", func() apron.Service {
			c.write(map[string]string{"answer": "v2"})
			return w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), control.ServicePatch{Instance: &control.InstancePatch{MemoryMiB: &size}}, nil))
		}, 2, "v1"},
		{"an update that says the same source", func() apron.Service {
			return w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), code(nil), nil))
		}, 2, "v1"},
		{"an update of automatic deployments", func() apron.Service {
			p := code(nil)
			p.Source.AutoDeployments = &on
			return w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), p, nil))
		}, 2, "v1"},
		{"pause and resume", func() apron.Service {
			w.begin(w.plane.PauseService(t.Context(), w.scope, svc.ARN().String()))
			return w.begin(w.plane.ResumeService(t.Context(), w.scope, svc.ARN().String()))
		}, 2, "v1"},
		{"a deployment", func() apron.Service { return c.deploy(svc) }, 3, "v2"},
		{"an update to another branch", func() apron.Service {
			c.run("checkout", "--quiet", "-b", "next")
			c.write(map[string]string{"answer": "v3"})
			p := code(func(p *control.CodePatch) { p.Branch = "next" })
			return w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), p, nil))
		}, 4, "v3"},
		{"a deployment that cannot be built", func() apron.Service {
			c.write(map[string]string{"answer": ""})
			return c.deploy(svc)
		}, 5, "v3"},
		{"a rollback", func() apron.Service {
			op, _, err := w.plane.RollbackService(t.Context(), w.scope, svc.ARN().String(), 0)
			if err != nil {
				t.Fatal(err)
			}
			w.await(op)
			return w.service(svc.ID)
		}, 5, "v2"},
	}
	for _, s := range steps {
		after := s.do()
		if got := w.get(after); got != s.want || len(c.builds()) != s.builds {
			t.Fatalf("after %s the service answers %q with %d builds, want %q with %d; events:\n%s",
				s.name, got, len(c.builds()), s.want, s.builds, strings.Join(w.events(svc.ID), "\n"))
		}
		rev, err := w.store.Revision(t.Context(), after.Active)
		if err != nil || rev.Build == nil || rev.Build.Run.Port != "8080" {
			t.Fatalf("after %s the build is %+v, %v", s.name, rev.Build, err)
		}
	}
	if op := w.last(svc.ID); op.Status != apron.OperationSucceeded {
		t.Errorf("rollback is %s because %q", op.Status, op.Reason)
	}
}
