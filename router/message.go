package router

import (
	"log/slog"
	"time"

	"apron"
)

// Addresses is where a router's public listeners are bound, host:port; empty: no such listener.
type Addresses struct {
	HTTP  string
	HTTPS string
}

// Certificate is a certificate chain, leaf first, and its private key, both PEM. Which server names
// it is used for is read from the leaf's DNS names. KeyPEM is sensitive: printing or logging a
// Certificate leaves it out.
type Certificate struct {
	CertPEM []byte
	KeyPEM  []byte
}

// String returns a placeholder, because a certificate carries its private key.
func (Certificate) String() string { return "certificate with key" }

// GoString returns what String does.
func (c Certificate) GoString() string { return c.String() }

// LogValue keeps the private key out of logs.
func (c Certificate) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Load is what a router reports about the instances and routes whose figures changed since its
// report before. The first report of a stream is Full: figures of anything it does not name are 0.
type Load struct {
	Full      bool
	Instances []InstanceLoad
	Routes    []RouteLoad
}

// InstanceLoad is how busy one instance is.
type InstanceLoad struct {
	Instance apron.InstanceID
	InFlight int    // requests it is answering now, upgraded connections included
	Total    uint64 // requests sent to it since this router first heard of it
}

// RouteLoad is how many requests wait for an instance with a free slot.
type RouteLoad struct {
	Service  apron.ServiceID
	Revision apron.RevisionID
	Queued   int    // waiting now
	Refused  uint64 // answered 429 since this router first heard of the route
}

// Access is the record of one request that was answered or given up.
type Access struct {
	Time     time.Time        // when its header had been read
	Service  apron.ServiceID  // empty: no route has its host
	Revision apron.RevisionID // empty: as for Service
	Instance apron.InstanceID // that answered, or was the last tried; empty: none
	Method   string
	Host     string        // as the client sent it; at most 255 bytes
	Status   int           // sent to the client; 499: the client left before there was one
	Duration time.Duration // until the last byte was handed to the connection
	Upstream time.Duration // from choosing the instance to its response header; 0: there was none
	Bytes    int64         // of the response body; 0 for an upgraded connection
}
