package server

import (
	"maps"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"apron"
	"apron/router"
)

// metrics is what GET /metrics shows, in Prometheus's text format: the platform as a whole, nothing of
// single services, whose owners may be others than who can read it.
type metrics struct {
	http.Handler
	ended *prometheus.CounterVec

	mu       sync.Mutex // guards the maps, and that gauges agree with them
	counted  map[string]uint64
	inFlight map[apron.InstanceID]int
	queued   map[routeKey]int
}

// routeKey names a route in the router's reports.
type routeKey struct {
	service apron.ServiceID
	nth     int
}

func newMetrics() *metrics {
	m := &metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apron_router_ended_requests_total",
			Help: "Requests that the router, and not an instance, has ended, by the reason.",
		}, []string{"reason"}),
		counted: map[string]uint64{}, inFlight: map[apron.InstanceID]int{}, queued: map[routeKey]int{},
	}
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.ended,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "apron_router_in_flight_requests",
			Help: "Requests that instances are answering, upgraded connections included.",
		}, func() float64 { return sum(m, m.inFlight) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "apron_router_queued_requests",
			Help: "Requests that wait for an instance with a free slot.",
		}, func() float64 { return sum(m, m.queued) }),
	)
	m.Handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	return m
}

func sum[K comparable](m *metrics, of map[K]int) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := 0
	for _, n := range of {
		all += n
	}
	return float64(all)
}

// observe takes in a report of the router.
func (m *metrics) observe(l router.Load) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.Full {
		clear(m.inFlight)
		clear(m.queued)
		maps.DeleteFunc(m.counted, func(reason string, _ uint64) bool { return l.Ended[reason] == 0 })
	}
	for _, i := range l.Instances {
		put(m.inFlight, i.Instance, i.InFlight)
	}
	for _, r := range l.Routes {
		put(m.queued, routeKey{r.Service, r.Nth}, r.Queued)
	}
	for reason, now := range l.Ended {
		last := m.counted[reason]
		if now < last { // another router, which counts from the beginning
			last = 0
		}
		m.ended.WithLabelValues(reason).Add(float64(now - last))
		m.counted[reason] = now
	}
}

// put keeps no zeros, so that what is gone takes no room.
func put[K comparable](in map[K]int, key K, n int) {
	if n == 0 {
		delete(in, key)
		return
	}
	in[key] = n
}
