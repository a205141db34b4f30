package deploy_test

import (
	"testing"

	"apron"
)

func TestDelete(t *testing.T) {
	tests := map[string]struct {
		before func(*world, apron.Service)
	}{
		"running": {func(*world, apron.Service) {}},
		"paused": {func(w *world, svc apron.Service) {
			w.begin(w.plane.PauseService(w.Context(), w.scope, svc.ARN().String()))
		}},
		"updated": {func(w *world, svc apron.Service) {
			w.behave("web:2", "02", says("v2"))
			w.update(svc.ID, "web:2")
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			svc := w.create()
			tt.before(w, svc)
			deleted := w.begin(w.plane.DeleteService(t.Context(), w.scope, svc.ARN().String()))
			w.wantDeleted(deleted)
		})
	}
}

func (w *world) wantDeleted(svc apron.Service) {
	w.Helper()
	if svc.Status != apron.ServiceDeleted || svc.DeletedAt.IsZero() || svc.Active != "" || svc.Candidate != "" {
		w.Errorf("service is %+v", svc)
	}
	if diff := w.engineDiff(nil); diff != "" {
		w.Errorf("left in the engine (-want +got):\n%s", diff)
	}
	if got := w.get(svc); got != "404" {
		w.Errorf("the service answers %q", got)
	}
}
