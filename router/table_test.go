package router

import (
	"fmt"
	"net/netip"
	"testing"

	"apron"
)

func TestTableRefusals(t *testing.T) {
	good := testTable(1, 1, 1).Routes[0]
	for name, change := range map[string]func(*apron.Route){
		"no service":         func(r *apron.Route) { r.Service = "" },
		"host with port":     func(r *apron.Route) { r.Hosts = []string{"a:80"} },
		"upper case host":    func(r *apron.Route) { r.Hosts = []string{"A"} },
		"empty host":         func(r *apron.Route) { r.Hosts = []string{""} },
		"bare wildcard":      func(r *apron.Route) { r.Hosts = []string{"*"} },
		"host twice":         func(r *apron.Route) { r.Hosts = []string{"a", "a"} },
		"instance twice":     func(r *apron.Route) { r.Backends = append(r.Backends, r.Backends[0]) },
		"no address":         func(r *apron.Route) { r.Backends = []apron.Backend{{Instance: "i"}} },
		"negative":           func(r *apron.Route) { r.Concurrency = -1 },
		"nameless instance":  func(r *apron.Route) { r.Backends = []apron.Backend{{Addr: r.Backends[0].Addr}} },
		"wildcard in middle": func(r *apron.Route) { r.Hosts = []string{"a.*.b"} },
	} {
		bad := good
		change(&bad)
		if err := checkTable(apron.RouteTable{Routes: []apron.Route{bad}}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	tab := newTestRoutes(1, 1, 1).current.Load()
	if n := testing.AllocsPerRun(100, func() { tab.lookup("Web.Example.com.:8080") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	source := apron.RouteTable{}
	for i := range 10000 {
		source.Routes = append(source.Routes, apron.Route{
			Hosts: []string{fmt.Sprintf("s%09d.us-east-1.apron.localhost", i)}, Service: apron.ServiceID(fmt.Sprint(i)),
		})
	}
	r := newRoutes(newDrain(), breakerLimits{changed: func() {}})
	if err := r.install(source); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if r.current.Load().lookup("s000004711.us-east-1.apron.localhost:8080") == nil {
			b.Fatal("no route")
		}
	}
}

func BenchmarkInstall(b *testing.B) {
	source := apron.RouteTable{}
	for i := range 10000 {
		source.Routes = append(source.Routes, apron.Route{
			Hosts: []string{fmt.Sprintf("s%09d.us-east-1.apron.localhost", i)}, Service: apron.ServiceID(fmt.Sprint(i)),
			Backends: []apron.Backend{{Instance: apron.InstanceID(fmt.Sprint("i", i)), Addr: netip.MustParseAddrPort("10.0.0.1:80")}},
		})
	}
	r := newRoutes(newDrain(), breakerLimits{changed: func() {}})
	for b.Loop() {
		if err := r.install(source); err != nil {
			b.Fatal(err)
		}
	}
}
