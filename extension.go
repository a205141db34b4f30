package apron

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Extensions is what the tags of a service whose keys begin with TagPrefix ask for: abilities App
// Runner does not have. The zero value is a service without such tags. It is comparable.
type Extensions struct {
	// StartTimeout is how long an instance that runs may take to become healthy before its deployment
	// fails; 0: as the server is configured (tag apron:start-timeout).
	StartTimeout time.Duration
	// StopTimeout is how long an instance may take to end after SIGTERM before it is killed; 0: 30 s
	// (tag apron:stop-timeout).
	StopTimeout time.Duration
	// Runtime is what runs the instances: RuntimeRunc, RuntimeGVisor, or empty for what the server is
	// configured to use (tag apron:runtime).
	Runtime string
	// Dockerfile is the path, below the source directory, of the Dockerfile to build instead of a
	// managed runtime; empty: none (tag apron:dockerfile).
	Dockerfile string
	// Prepared is how many instances, besides those that serve, are made in advance: they run nothing, and
	// take the place of one that fails, or join the others, at once; 0: none (tag apron:prepared).
	Prepared int
	// Route is how the service's requests are treated.
	Route RouteOptions
}

// MaxPrepared is the most instances a service can have made in advance: each holds memory, and does
// nothing for it most of the time.
const MaxPrepared = 10

// The runtimes.
const (
	RuntimeRunc   = "runc"   // containers
	RuntimeGVisor = "gvisor" // gVisor's sandbox (runsc): a kernel of its own in between
)

// ProtocolH2C is HTTP/2 with prior knowledge, without TLS (RFC 9113, 3.3).
const ProtocolH2C = "h2c"

// RouteOptions is how the requests of a route are treated. The zero value is the default of
// everything. It is comparable.
type RouteOptions struct {
	// RequestTimeout limits one request, its body and the answer's included; 0: the router's default,
	// 120 s (tag apron:request-timeout).
	RequestTimeout time.Duration
	// Queue is how many requests may wait for an instance with a free slot; 0: the router's default,
	// negative: none (tag apron:queue).
	Queue int
	// QueueTimeout is how long each of them waits; 0: the router's default, 5 s (tag
	// apron:queue-timeout).
	QueueTimeout time.Duration
	// NoWebSocket has upgrades answered 403, as App Runner does (tag apron:websocket=off).
	NoWebSocket bool
	// Protocol is what the application speaks: empty for HTTP/1.1, or ProtocolH2C (tag
	// apron:app-protocol).
	Protocol string
	// AccessLog writes a line for each request to the service's access log (tag apron:access-log=on).
	AccessLog bool
}

// extension is one tag of a service: what its value may be, in words, and where it goes. set reports
// whether the value is one.
type extension struct {
	want string
	set  func(e *Extensions, value string) bool
}

// duration is an extension that holds a time of at least least and at most most, in the form of
// time.ParseDuration or a plain number of seconds.
func duration(least, most time.Duration, to func(*Extensions) *time.Duration) extension {
	return extension{"a time from " + least.String() + " to " + most.String() + `, such as "90s"`, func(e *Extensions, value string) bool {
		d, err := time.ParseDuration(value)
		if err != nil {
			d, err = time.ParseDuration(value + "s")
		}
		*to(e) = d
		return err == nil && d >= least && d <= most
	}}
}

// choice is an extension that has one of a few values.
func choice(want string, values map[string]func(*Extensions)) extension {
	return extension{want, func(e *Extensions, value string) bool {
		set, ok := values[value]
		if ok {
			set(e)
		}
		return ok
	}}
}

// serviceExtensions returns the extensions of a service by the key of their tag.
func serviceExtensions() map[string]extension {
	return map[string]extension{
		"apron:start-timeout":   duration(time.Second, 15*time.Minute, func(e *Extensions) *time.Duration { return &e.StartTimeout }),
		"apron:stop-timeout":    duration(time.Second, 10*time.Minute, func(e *Extensions) *time.Duration { return &e.StopTimeout }),
		"apron:request-timeout": duration(time.Second, 24*time.Hour, func(e *Extensions) *time.Duration { return &e.Route.RequestTimeout }),
		"apron:queue-timeout":   duration(10*time.Millisecond, 10*time.Minute, func(e *Extensions) *time.Duration { return &e.Route.QueueTimeout }),
		"apron:queue": {"a number from 0 to 100000", func(e *Extensions, value string) bool {
			n, err := strconv.Atoi(value)
			if e.Route.Queue = n; n == 0 {
				e.Route.Queue = -1
			}
			return err == nil && n >= 0 && n <= 100_000
		}},
		"apron:prepared": {"a number from 0 to " + strconv.Itoa(MaxPrepared), func(e *Extensions, value string) bool {
			n, err := strconv.Atoi(value)
			e.Prepared = n
			return err == nil && n >= 0 && n <= MaxPrepared
		}},
		"apron:websocket": choice("on or off", map[string]func(*Extensions){
			"on": func(*Extensions) {}, "off": func(e *Extensions) { e.Route.NoWebSocket = true },
		}),
		"apron:app-protocol": choice("http1 or h2c", map[string]func(*Extensions){
			"http1": func(*Extensions) {}, ProtocolH2C: func(e *Extensions) { e.Route.Protocol = ProtocolH2C },
		}),
		"apron:access-log": choice("on or off", map[string]func(*Extensions){
			"off": func(*Extensions) {}, "on": func(e *Extensions) { e.Route.AccessLog = true },
		}),
		"apron:runtime": choice("runc or gvisor", map[string]func(*Extensions){
			RuntimeRunc:   func(e *Extensions) { e.Runtime = RuntimeRunc },
			RuntimeGVisor: func(e *Extensions) { e.Runtime = RuntimeGVisor },
		}),
		"apron:dockerfile": {"a path below the source directory", func(e *Extensions, value string) bool {
			e.Dockerfile = value
			return filepath.IsLocal(value)
		}},
	}
}

// ParseExtensions returns what the tags of a service ask for. A value that is none of its key's is
// an Invalid Fault; keys without TagPrefix, and unknown ones, are CheckTags's to judge.
func ParseExtensions(tags []Tag) (Extensions, error) {
	var e Extensions
	known := serviceExtensions()
	for _, tag := range tags {
		x, ok := known[tag.Key]
		if ok && !x.set(&e, tag.Value) {
			return Extensions{}, Faultf(Invalid, "Invalid value of tag %s: %q is not %s.", tag.Key, tag.Value, x.want)
		}
	}
	return e, nil
}

// KnownTags returns the keys with TagPrefix that mean something on a resource of the type, sorted.
func KnownTags(t ResourceType) []string {
	if t != ResourceService {
		return nil
	}
	return slices.Sorted(maps.Keys(serviceExtensions()))
}
