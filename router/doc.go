// Package router is the data plane: the process that holds the public listeners and sends every
// user's request to an instance.
//
// [Run] is the process. It reads a request the way these files are listed: listen.go accepts it,
// tls.go picks the certificate, table.go finds the route by host, breaker.go grants a slot or makes
// it wait, balancer.go chooses the instance, proxy.go relays, drain.go notices when an instance that
// left has nothing in flight any more, access.go records what happened.
//
// The control plane steers it through a [Client], over one stream: route tables and certificates
// come down, acknowledgements, drained instances, load and access records go up. The router keeps
// the last table and certificates on disk and needs nobody to go on serving: a lost stream, and a
// restart without a control plane, change nothing for a request.
package router
