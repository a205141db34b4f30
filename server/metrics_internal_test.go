package server

import (
	"net/http/httptest"
	"strings"
	"testing"

	"apron/router"
)

func TestMetrics(t *testing.T) {
	m := newMetrics()
	wants := func(lines ...string) {
		t.Helper()
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		for _, line := range lines {
			if !strings.Contains("\n"+w.Body.String(), "\n"+line+"\n") {
				t.Errorf("%q is missing in:\n%s", line, w.Body)
			}
		}
	}
	const inFlight, queued = "apron_router_in_flight_requests ", "apron_router_queued_requests "
	ended := func(reason string) string { return `apron_router_ended_requests_total{reason="` + reason + `"} ` }

	wants(inFlight+"0", queued+"0")
	m.observe(router.Load{
		Full: true, Ended: map[string]uint64{"limit": 2, "reset": 1},
		Instances: []router.InstanceLoad{{Instance: "a", InFlight: 3}, {Instance: "b", InFlight: 1}},
		Routes:    []router.RouteLoad{{Service: "s", Queued: 7}, {Service: "s", Nth: 1, Queued: 1}},
	})
	wants(inFlight+"4", queued+"8", ended("limit")+"2", ended("reset")+"1")
	m.observe(router.Load{
		Ended:     map[string]uint64{"limit": 5},
		Instances: []router.InstanceLoad{{Instance: "b", InFlight: 0}},
		Routes:    []router.RouteLoad{{Service: "s", Queued: 0}},
	})
	wants(inFlight+"3", queued+"1", ended("limit")+"5", ended("reset")+"1")
	// The report of another router: what it does not name is not there, and it counts from the beginning.
	m.observe(router.Load{Full: true, Ended: map[string]uint64{"limit": 1}})
	wants(inFlight+"0", queued+"0", ended("limit")+"6", ended("reset")+"1")
	m.observe(router.Load{Ended: map[string]uint64{"reset": 4}})
	wants(ended("reset") + "5")
}
