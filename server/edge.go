package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"apron"
	"apron/certs"
	"apron/router"
)

// edge is the router as the fleet sees it, with a certificate for every host in a table before the
// table is published.
type edge struct {
	*router.Client
	authority *certs.Authority
	own       []router.Certificate // the operator's, which come before the authority's
	log       *slog.Logger

	// mu guards parents. The fleet publishes one table at a time; it is for whoever comes next.
	mu      sync.Mutex
	parents map[string]bool // domains whose wildcard certificate the router has
	first   string          // the parent whose certificate is shown to clients that name no host
}

func newEdge(c *router.Client, a *certs.Authority, own []router.Certificate, parent string, log *slog.Logger) *edge {
	return &edge{Client: c, authority: a, own: own, log: log, parents: map[string]bool{}, first: parent}
}

// Publish makes sure of the certificates, then publishes the table. Requests without TLS must not
// suffer when a certificate cannot be made, so that is logged and the table goes out.
func (e *edge) Publish(ctx context.Context, table apron.RouteTable) error {
	if err := e.certify(ctx, table); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e.log.Error("give the router its certificates", "err", err)
	}
	return e.Client.Publish(ctx, table)
}

// certify sends the router a wildcard certificate for every parent domain of the table's hosts,
// when one of them is new.
func (e *edge) certify(ctx context.Context, table apron.RouteTable) error {
	e.mu.Lock()
	wanted := maps.Clone(e.parents)
	e.mu.Unlock()
	before := len(wanted)
	wanted[e.first] = true
	for _, route := range table.Routes {
		for _, host := range route.Hosts {
			if _, parent, ok := strings.Cut(host, "."); ok {
				wanted[parent] = true
			}
		}
	}
	if len(wanted) == before {
		return nil
	}
	names := slices.Sorted(maps.Keys(wanted))
	slices.SortStableFunc(names, func(a, b string) int {
		if a == e.first {
			return -1
		}
		if b == e.first {
			return 1
		}
		return 0
	})
	list := slices.Clone(e.own)
	for _, name := range names {
		cert, key, err := e.authority.Wildcard(ctx, name)
		if err != nil {
			return fmt.Errorf("certificate for *.%s: %w", name, err)
		}
		list = append(list, router.Certificate{CertPEM: cert, KeyPEM: key})
	}
	if err := e.SetCertificates(ctx, list); err != nil {
		return fmt.Errorf("send certificates: %w", err)
	}
	e.mu.Lock()
	e.parents = wanted
	e.mu.Unlock()
	return nil
}
