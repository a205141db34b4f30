// Package control holds the rules of each API action, with no HTTP in it: who may see what, name
// uniqueness, defaults that need the store, state checks, quotas.
//
// It sits between package api, which has checked the shape of a request, and package store, which
// makes a change durable. An action that starts an operation writes the resource and its PENDING
// operation in one transaction and then wakes the operation runner; the caller has its answer
// before anything runs.
package control

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"apron"
	"apron/store"
)

// Config is what a Control needs. Every member is required unless it says otherwise.
type Config struct {
	Store  *store.Store
	Domain string // default domain of services is <label>.<region>.<Domain>
	Wake   func() // tells the operation runner that there is work; must not block
	// Deadline returns how long an operation of a type may take before it fails.
	Deadline func(apron.OperationType) time.Duration
	// BuildTime is added to the deadline of operations that may build source code. 0: nothing is.
	BuildTime time.Duration
	// Retagged is told of services whose tags have changed; it must not block. nil: nobody is told.
	Retagged func(apron.ServiceID)
	Log      *slog.Logger // nil: nothing is logged
	// Hosts reports whether this server itself hosts the repository of a URL for the account, so that no
	// credential is sent for it. nil: it hosts none.
	Hosts func(account string, u *url.URL) bool

	Quotas apron.Quotas // the zero value bounds nothing; see apron.DefaultQuotas
	// SimulateValidation has custom domains pass their DNS validation by themselves after a while, for
	// servers that no public DNS can lead to. false: they stay pending until they time out.
	SimulateValidation bool
	Now                func() time.Time // the same as the store's; nil: time.Now
}

// Control carries out API actions. It is safe for concurrent use.
type Control struct {
	cfg  Config
	walk chan struct{} // holds one element when Run is to look for due statuses
	push chan struct{} // holds one element when Run is to look for pushes that wait
}

// New returns a Control that does nothing until one of its methods is called.
func New(cfg Config) *Control {
	if cfg.Retagged == nil {
		cfg.Retagged = func(apron.ServiceID) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Hosts == nil {
		cfg.Hosts = func(string, *url.URL) bool { return false }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Control{cfg: cfg, walk: make(chan struct{}, 1), push: make(chan struct{}, 1)}
}

// Page is a position in a list and how much of it is wanted.
type Page struct {
	After string // opaque cursor from the page before; empty: from the start
	Limit int    // 0: everything
}

// resource parses arn and checks that it is a full ARN of the type. An ARN of another scope is one
// that does not exist here.
func resource(scope apron.Scope, arn string, t apron.ResourceType) (apron.ARN, error) {
	a, err := apron.ParseARN(arn)
	if err != nil {
		return apron.ARN{}, err
	}
	if a.Type != t || a.Partial() {
		return apron.ARN{}, apron.Faultf(apron.Invalid, "Invalid ARN: %s is not the ARN of %s.", arn, kindOf(t))
	}
	if a.Scope != scope {
		return apron.ARN{}, notFound(arn)
	}
	return a, nil
}

// kindOf names a resource type for people, with its article.
func kindOf(t apron.ResourceType) string {
	switch t {
	case apron.ResourceAutoScalingConfiguration:
		return "an auto scaling configuration"
	case apron.ResourceObservabilityConfiguration:
		return "an observability configuration"
	case apron.ResourceVPCConnector:
		return "a VPC connector"
	case apron.ResourceVPCIngressConnection:
		return "a VPC ingress connection"
	default: // service, connection
		return "a " + string(t)
	}
}

// notFound is the fault for an ARN that names nothing in the caller's account and region.
func notFound(arn string) error {
	return apron.Faultf(apron.NotFound, "Resource not found: %s", arn)
}

// view adds to a service what Describe shows beside it.
func (c *Control) view(ctx context.Context, svc apron.Service) (ServiceView, error) {
	asc, err := c.cfg.Store.AutoScalingConfiguration(ctx, svc.Config.AutoScaling)
	if errors.Is(err, store.ErrNotFound) {
		// The service outlived its configuration's record: say what the ARN itself tells.
		return ServiceView{Service: svc, AutoScaling: apron.AutoScalingConfiguration{ARN: svc.Config.AutoScaling}}, nil
	}
	if err != nil {
		return ServiceView{}, err
	}
	asc.InUse = asc.InUse || svc.Status != apron.ServiceDeleted
	return ServiceView{Service: svc, AutoScaling: asc}, nil
}
