package deploy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"apron"
	"apron/control"
	"apron/engine/enginetest"
	"apron/store"
)

// update sends the image and waits for the end.
func (w *world) update(id apron.ServiceID, image string) apron.Service {
	w.Helper()
	return w.begin(w.plane.UpdateService(w.Context(), w.scope, w.service(id).ARN().String(), toImage(image), nil))
}

func toImage(image string) control.ServicePatch {
	return control.ServicePatch{Source: &control.SourcePatch{
		Image: &control.ImagePatch{Identifier: image, Type: apron.ImageRepositoryECR},
	}}
}

func TestUpdate(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	w.behave("web:2", "02", says("v2"))
	from := len(w.events(svc.ID))
	after := w.update(svc.ID, "web:2")
	if got := w.get(svc); got != "v2" {
		t.Errorf("the service answers %q", got)
	}
	if after.Config.Source.Image.Identifier != "web:2" || after.Active == svc.Active {
		t.Errorf("service shows %+v with revision %s", after.Config.Source.Image, after.Active)
	}
	if op := w.last(svc.ID); op.Status != apron.OperationSucceeded || op.Type != apron.OperationUpdate {
		t.Errorf("operation is %s %s", op.Type, op.Status)
	}
	w.wantSettled(svc.ID, 1)
	w.wantEvents(svc.ID, from,
		"Service status is set to OPERATION_IN_PROGRESS.",
		"Service update started.",
		"Deployment with ID : <id> started. Triggering event : SERVICE_UPDATE",
		"Deployment Artifact: [Repo Type: ECR], [Image URL: web:2]",
		"Pulling image web:2 from ECR repository.",
		"Successfully pulled your application image from ECR.",
		"Provisioning instances and deploying image for publicly accessible service.",
		"Performing health check on protocol `TCP` [Port: '8080'].",
		"Health check is successful. Routing traffic to application.",
		"Successfully routed incoming traffic to application.",
		"Service status is set to RUNNING.",
		"Service update completed successfully. New application and configuration is deployed.")
}

// Without a source in the request the image that serves is kept, whatever its tag names by now.
func TestUpdateOfConfigurationKeepsTheImage(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	w.behave("web:1", "02", says("v2"))
	path := "/up"
	after := w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(),
		control.ServicePatch{HealthCheck: &control.HealthCheckPatch{Path: &path}}, nil))
	if got := w.get(svc); got != "v1" {
		t.Errorf("the service answers %q", got)
	}
	if after.Active == svc.Active || after.Config.HealthCheck.Path != path {
		t.Errorf("revision %s serves as before with %+v", after.Active, after.Config.HealthCheck)
	}
	w.wantSettled(svc.ID, 1)
	lines := w.events(svc.ID)
	if last := lines[len(lines)-1]; last != "[AppRunner] Service update completed successfully. New configuration is deployed." {
		t.Errorf("the last event is %q", last)
	}
}

// An update that names the image that serves looks it up, and says so, though there is nothing to fetch.
func TestUpdateToTheSameImage(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	from := len(w.events(svc.ID))
	w.update(svc.ID, "web:1")
	w.wantEvents(svc.ID, from,
		"Service status is set to OPERATION_IN_PROGRESS.",
		"Service update started.",
		"Deployment with ID : <id> started. Triggering event : SERVICE_UPDATE",
		"Deployment Artifact: [Repo Type: ECR], [Image URL: web:1]",
		"Pulling image web:1 from ECR repository.",
		"Successfully pulled your application image from ECR.",
		"Provisioning instances and deploying image for publicly accessible service.",
		"Performing health check on protocol `TCP` [Port: '8080'].",
		"Health check is successful. Routing traffic to application.",
		"Successfully routed incoming traffic to application.",
		"Service status is set to RUNNING.",
		"Service update completed successfully. New configuration is deployed.")
}

func TestUpdateRollsBack(t *testing.T) {
	tests := map[string]struct {
		image  enginetest.Behaviour
		absent bool
	}{
		"no such image": {absent: true},
		"exits":         {image: exits()},
		"never listens": {image: enginetest.Behaviour{Silent: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			svc := w.create()
			if !tt.absent {
				w.behave("web:2", "02", tt.image)
			}
			from := len(w.events(svc.ID))
			stop := w.load(svc, 4)
			after := w.update(svc.ID, "web:2")
			stop()
			if diff := cmp.Diff(svc.Config, after.Config); diff != "" || after.Active != svc.Active {
				t.Errorf("revision %s, before %s, configuration (-before +after):\n%s", after.Active, svc.Active, diff)
			}
			op := w.last(svc.ID)
			if op.Status != apron.OperationRollbackSucceeded || op.Reason == "" {
				t.Errorf("operation is %s because %q", op.Status, op.Reason)
			}
			if got := w.get(svc); got != "v1" {
				t.Errorf("the service answers %q", got)
			}
			w.wantSettled(svc.ID, 1)
			lines := w.events(svc.ID)[from:]
			want := []string{
				"[AppRunner] Service update failed. For details, see service logs.",
				"[AppRunner] Service status is set to RUNNING.",
			}
			if diff := cmp.Diff(want, lines[len(lines)-2:]); diff != "" {
				t.Errorf("last events (-want +got):\n%s", diff)
			}
		})
	}
}

// A service that could not be created is built anew by an update, also by an empty one.
func TestRebuild(t *testing.T) {
	w := newWorld(t)
	w.behave("web:1", "01", exits())
	svc := w.begin(w.plane.CreateService(t.Context(), w.scope, control.NewService{Name: "web", Config: w.config()}))
	w.wantStatus(svc.ID, apron.ServiceCreateFailed)
	rebuild := func() {
		w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), control.ServicePatch{}, nil))
	}

	rebuild()
	w.wantStatus(svc.ID, apron.ServiceCreateFailed)
	if op := w.last(svc.ID); op.Status != apron.OperationFailed || op.Reason == "" {
		t.Errorf("operation is %s because %q", op.Status, op.Reason)
	}
	w.wantEngine(nil)

	w.behave("web:1", "02", says("v2"))
	rebuild()
	w.wantStatus(svc.ID, apron.ServiceRunning)
	w.wantSettled(svc.ID, 1)
	if got := w.get(svc); got != "v2" {
		t.Errorf("the service answers %q", got)
	}
}

// As many instances start as the auto scaling configuration always wants, and all are replaced.
func TestUpdateOfSeveralInstances(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	asc := apron.AutoScalingConfiguration{
		ARN:            apron.ARN{Scope: w.scope, Type: apron.ResourceAutoScalingConfiguration, Name: "three", Revision: 1, ID: "03"},
		MaxConcurrency: 7, MinSize: 3, MaxSize: 5, Latest: true,
	}
	if err := w.store.Tx(t.Context(), func(tx *store.Tx) error {
		return tx.InsertAutoScalingConfiguration(t.Context(), asc)
	}); err != nil {
		t.Fatal(err)
	}
	stop := w.load(svc, 4)
	w.begin(w.plane.UpdateService(t.Context(), w.scope, svc.ARN().String(), control.ServicePatch{AutoScalingARN: asc.ARN.String()}, nil))
	w.wantSettled(svc.ID, 3)
	w.behave("web:2", "02", says("v2"))
	w.update(svc.ID, "web:2")
	stop()
	w.wantSettled(svc.ID, 3)
	table, err := w.plane.client.Table(t.Context())
	if err != nil || table.Routes[0].Concurrency != 7 {
		t.Errorf("route is %+v, %v", table.Routes, err)
	}
}

// No request fails while a service is updated and deployed again and again.
func TestNoRequestIsLost(t *testing.T) {
	w := newWorld(t)
	svc := w.create()
	w.behave("web:2", "02", says("v2"))
	stop := w.load(svc, 8)
	started := time.Now()
	for n := range 10 {
		w.update(svc.ID, []string{"web:2", "web:1"}[n%2])
		w.wantStatus(svc.ID, apron.ServiceRunning)
	}
	took := time.Since(started)
	for range 5 {
		w.deploy(svc)
	}
	t.Logf("%d requests; an update took %s on average", stop(), took/10)
	w.wantSettled(svc.ID, 1)
}
