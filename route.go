package apron

import "net/netip"

// Route sends the requests of some hosts to the instances of one revision.
type Route struct {
	Hosts       []string // lower case, without port
	Service     ServiceID
	ServiceName string
	Revision    RevisionID
	Concurrency int // requests at a time per instance (MaxConcurrency of the auto scaling configuration)
	Options     RouteOptions
	Backends    []Backend // instances that may be sent requests
	// Starting: no instance is known to be ready, but one is being started. Requests that find none wait for
	// it, as for a slot; otherwise they are answered 503 at once.
	Starting bool
}

// Backend is one instance a route may send requests to.
type Backend struct {
	Instance InstanceID
	Addr     netip.AddrPort
}

// RouteTable is everything the router needs to send a request on its way. It is immutable once
// published: a change is a new table with a higher Version.
type RouteTable struct {
	Version uint64 // grows with every table a control plane publishes
	Routes  []Route
}
