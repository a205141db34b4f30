package deploy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/engine/enginetest"
	"apron/logs"
)

func TestCreate(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	if got := w.get(svc); got != "v1" {
		t.Errorf("the service answers %q", got)
	}
	w.wantSettled(svc.ID, 1)
	w.wantEvents(svc.ID, 0,
		"Service status is set to OPERATION_IN_PROGRESS.",
		"Service creation started.",
		"Deployment with ID : <id> started. Triggering event : SERVICE_CREATE",
		"Deployment Artifact: [Repo Type: ECR], [Image URL: web:1]",
		"Pulling image web:1 from ECR repository.",
		"Successfully pulled your application image from ECR.",
		"Provisioning instances and deploying image for publicly accessible service.",
		"Performing health check on protocol `TCP` [Port: '8080'].",
		"Health check is successful. Routing traffic to application.",
		"Successfully routed incoming traffic to application.",
		"Service status is set to RUNNING.",
		"Service creation completed successfully.")
}

// wantSettled checks what holds for a service after any operation that leaves it running: one
// revision, which serves, with n instances.
func (w *world) wantSettled(id apron.ServiceID, n int) {
	w.Helper()
	svc := w.service(id)
	if svc.Status != apron.ServiceRunning || svc.Active == "" || svc.Candidate != "" {
		w.Errorf("service is %s with active %q and candidate %q", svc.Status, svc.Active, svc.Candidate)
		return
	}
	rev, err := w.store.Revision(w.Context(), svc.Active)
	if err != nil {
		w.Fatal(err)
	}
	if diff := cmp.Diff(rev.Config, svc.Config); diff != "" {
		w.Errorf("the service does not show what serves (-revision +service):\n%s", diff)
	}
	w.wantHistory(svc, n)
	table, err := w.plane.client.Table(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if len(table.Routes) != 1 || table.Routes[0].Revision != svc.Active || len(table.Routes[0].Backends) != n {
		w.Errorf("the router has %+v, want revision %s with %d instances", table.Routes, svc.Active, n)
	}
}

// wantHistory checks that one revision of the service is the deployed one, that all others have an
// outcome too, and, once what had to be retired and forgotten is, that of those the engine has what can
// be gone back to, and nothing that runs.
func (w *world) wantHistory(svc apron.Service, n int) {
	w.Helper()
	w.until(func() bool { return w.engineDiff(w.history(svc, n)) == "" }, "the engine has the history of %s", svc.ID)
	for _, rev := range w.revisions(svc.ID) {
		switch {
		case (rev.ID == svc.Active) != (rev.Outcome == apron.RevisionDeployed), rev.Outcome == apron.RevisionPending:
			w.Errorf("revision %d is %q, while %s serves", rev.Number, rev.Outcome, svc.Active)
		case !rev.Outcome.Served() && rev.Reason == "":
			w.Errorf("revision %d is %s without a reason", rev.Number, rev.Outcome)
		}
	}
}

// history returns how many instances there should be of the revisions that can be gone back to and of
// the one that serves, which has n.
func (w *world) history(svc apron.Service, n int) map[apron.RevisionID]int {
	w.Helper()
	want := map[apron.RevisionID]int{svc.Active: n}
	for _, rev := range w.revisions(svc.ID) {
		if rev.Outcome == apron.RevisionSuperseded {
			want[rev.ID] = 0
		}
	}
	return want
}

func (w *world) revisions(id apron.ServiceID) []apron.Revision {
	w.Helper()
	list, err := w.store.Revisions(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return list
}

// wantEvents compares the service's event lines after the first from ones.
func (w *world) wantEvents(id apron.ServiceID, from int, want ...string) {
	w.Helper()
	op := logs.ShortID(w.last(id).ID)
	lines := w.events(id)
	if len(lines) < from {
		w.Fatalf("only %d event lines: %v", len(lines), lines)
	}
	var got []string
	for _, line := range lines[from:] {
		got = append(got, strings.ReplaceAll(strings.TrimPrefix(line, "[AppRunner] "), op, "<id>"))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestCreateFails(t *testing.T) {
	tests := map[string]struct {
		image  enginetest.Behaviour
		absent bool // the image has no tag
		want   string
	}{
		"no such image":      {absent: true, want: "Image web:1 does not exist."},
		"cannot be pulled":   {image: enginetest.Behaviour{Absent: "exec format error"}, want: "exec format error"},
		"exits":              {image: exits(), want: "See logs for more information.  Container exit code: 3\nLast log lines:\ncannot go on"},
		"never listens":      {image: enginetest.Behaviour{Silent: true}, want: "Health check failed on protocol `TCP` [Port: '8080'] for 5s."},
		"registry is broken": {image: enginetest.Behaviour{Trouble: http.ErrServerClosed}, want: `Step "prepare" failed 5 times.`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if !tt.absent {
				w.behave("web:1", "01", tt.image)
			}
			svc := w.begin(w.plane.CreateService(w.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
			w.wantStatus(svc.ID, apron.ServiceCreateFailed)
			op := w.last(svc.ID)
			if op.Status != apron.OperationFailed || !strings.Contains(op.Reason, tt.want) {
				t.Errorf("operation is %s because %q, want FAILED because %q", op.Status, op.Reason, tt.want)
			}
			if svc.Active != "" || svc.Candidate != "" {
				t.Errorf("active %q, candidate %q, want none", svc.Active, svc.Candidate)
			}
			w.wantEngine(nil)
			if got := w.get(svc); got != "404" {
				t.Errorf("the service answers %q", got)
			}
			lines := w.events(svc.ID)
			if last := lines[len(lines)-1]; last != "[AppRunner] Service status is set to CREATE_FAILED." {
				t.Errorf("the last event is %q", last)
			}
		})
	}
}
