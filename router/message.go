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
// A router that took over from another one goes on with its counts, and counts along what that one
// still has in flight.
type Load struct {
	Full      bool
	Instances []InstanceLoad
	Routes    []RouteLoad
	// Ended counts the requests that the router, and not an instance, has ended since it started, by
	// the reason: refused-request, unknown-host, forbidden, overload, no-instance, connect, reset,
	// protocol, limit, body, slow-user, user-gone, cut, redirect. Nil: nothing changed.
	Ended map[string]uint64 `json:",omitempty"`
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
	Nth      int `json:",omitempty"` // of the service's routes, from 0
	Revision apron.RevisionID
	Queued   int    // waiting now
	Refused  uint64 // answered 429 since this router first heard of the route
	// Answered counts the requests that were answered since then, by the first digit of the status;
	// those of users who left have 4. Took is how long they took in all.
	Answered [6]uint64
	Took     time.Duration
}

// Access is the record of one request that was answered or given up. There are records of routes
// with RouteOptions.AccessLog only. Strings are what the user sent, cut where they are too long.
type Access struct {
	Time     time.Time // when its header had been read
	Service  apron.ServiceID
	Revision apron.RevisionID
	Instance apron.InstanceID // that answered, or was the last tried; empty: none
	Method   string
	Host     string        // as the client sent it; at most 255 bytes
	Status   int           // sent to the client; 499: the client left before there was one
	Duration time.Duration // until the last byte was handed to the connection
	Upstream time.Duration // from choosing the instance to its response header; 0: there was none
	Bytes    int64         // of the response body; of an upgraded connection, what the user was sent

	Client    string // address of the user
	Target    string // path and query
	Protocol  string // such as HTTP/1.1
	UserAgent string
	Referer   string
	RequestID string // value of X-Request-Id that the instance was sent
}
