// Package router is the data plane: the process that holds the public listeners and sends every
// user's request to an instance.
//
// [Run] is the process. It reads a request the way these files are listed: relay.go accepts it,
// tls.go picks the certificate, userconn.go reads and head.go parses it, ride.go takes it through
// table.go, which finds the route by host, breaker.go, which grants a slot or makes it wait, and
// balancer.go, which chooses the instance; receive.go passes the answer on, drain.go notices when an
// instance that left has nothing in flight any more, access.go records what happened. watch.go ends
// what takes too long. HTTP/2 takes the standard library's path behind the same table, breaker and
// balancer: standard.go, proxy.go, exchange.go.
//
// The control plane steers it through a [Client], over one stream: route tables and certificates
// come down, acknowledgements, drained instances, load and access records go up. The router keeps
// the last table and certificates on disk and needs nobody to go on serving: a lost stream, and a
// restart without a control plane, change nothing for a request. A new router takes the listeners
// over from the one that runs (handover.go) and steers it until its last request has ended (elder.go).
package router
