package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"apron"
	"apron/store"
)

// CustomDomains is what the actions on custom domains answer about a service.
type CustomDomains struct {
	Service apron.Service        // its Host is what the domains are to lead to
	Domains []apron.CustomDomain // newest first
	Ingress []apron.VPCIngressConnection
}

// AssociateCustomDomain records that a domain is to lead to a running service. The one domain of the
// answer is creating and has no validation records; Run moves it on. Faults: Invalid, NotFound (the
// service), State, Quota.
func (c *Control) AssociateCustomDomain(ctx context.Context, scope apron.Scope, service, domain string, www bool) (CustomDomains, error) {
	d := apron.CustomDomain{Domain: domain, EnableWWW: www, Status: apron.CustomDomainCreating}
	if err := d.Validate(c.cfg.Domain); err != nil {
		return CustomDomains{}, err
	}
	var out CustomDomains
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		svc, err := c.domainService(ctx, tx, scope, service)
		if err != nil {
			return err
		}
		if err := refuseTaken(ctx, tx, svc, d); err != nil {
			return err
		}
		if err := c.roomForDomain(ctx, tx, svc); err != nil {
			return err
		}
		d.Service, d.CreatedAt, d.UpdatedAt = svc.ID, tx.Now(), tx.Now()
		if err := tx.InsertCustomDomain(ctx, d, tx.Now()); err != nil {
			return err
		}
		out, err = domainsOf(ctx, tx, svc, d)
		return err
	})
	if err != nil {
		return CustomDomains{}, fmt.Errorf("associate custom domain: %w", err)
	}
	c.wakeWalk()
	return out, nil
}

// domainService returns a service whose custom domains may be changed now.
func (c *Control) domainService(ctx context.Context, tx *store.Tx, scope apron.Scope, arn string) (apron.Service, error) {
	svc, err := c.service(ctx, tx, scope, arn)
	switch {
	case err != nil:
		return apron.Service{}, err
	case svc.Status == apron.ServiceDeleted:
		return apron.Service{}, notFound(arn)
	case svc.Status != apron.ServiceRunning:
		return apron.Service{}, apron.Faultf(apron.State, "Custom domains of a service cannot be changed in the current state: %s.", svc.Status)
	}
	return svc, nil
}

// refuseTaken refuses a domain that leads to a service already, whoever's it is. Only a service of
// the same scope is named.
func refuseTaken(ctx context.Context, tx *store.Tx, svc apron.Service, d apron.CustomDomain) error {
	held, err := tx.CustomDomainHolder(ctx, d)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	holder, err := tx.Service(ctx, held.Service)
	if err != nil {
		return fmt.Errorf("read service: %w", err)
	}
	who := "another service"
	if holder.Scope == svc.Scope {
		who = "service " + holder.ARN().String()
	}
	return apron.Faultf(apron.Invalid, "%s is already associated with %s.", d.Domain, who)
}

// roomForDomain checks the quota. What is on its way out does not count.
func (c *Control) roomForDomain(ctx context.Context, tx *store.Tx, svc apron.Service) error {
	list, _, err := tx.CustomDomains(ctx, svc.ID, "", 0)
	if err != nil {
		return err
	}
	n := 0
	for _, d := range list {
		if d.Status != apron.CustomDomainDeleting {
			n++
		}
	}
	return apron.OverQuota(c.cfg.Quotas.CustomDomains, n, "custom domains per service")
}

// domainsReader is what an answer about custom domains needs of a *store.Store or *store.Tx.
type domainsReader interface {
	IngressOf(ctx context.Context, service apron.ServiceID) ([]apron.VPCIngressConnection, error)
}

// domainsOf returns the answer for some domains of a service: with the VPC ingress connections that
// have a host name to lead them to.
func domainsOf(ctx context.Context, from domainsReader, svc apron.Service, domains ...apron.CustomDomain) (CustomDomains, error) {
	list, err := from.IngressOf(ctx, svc.ID)
	if err != nil {
		return CustomDomains{}, err
	}
	out := CustomDomains{Service: svc, Domains: domains}
	for _, v := range list {
		if v.Host != "" {
			out.Ingress = append(out.Ingress, v)
		}
	}
	return out, nil
}

// CustomDomains returns one page of a service's custom domains, newest first, and the cursor of the
// next page (empty: none). It answers in every state of the service; a deleted one has no domains.
// Faults: Invalid, NotFound.
func (c *Control) CustomDomains(ctx context.Context, scope apron.Scope, service string, page Page) (CustomDomains, string, error) {
	svc, err := c.service(ctx, c.cfg.Store, scope, service)
	if err != nil {
		return CustomDomains{}, "", err
	}
	list, next, err := c.cfg.Store.CustomDomains(ctx, svc.ID, page.After, page.Limit)
	if err != nil {
		return CustomDomains{}, "", err
	}
	out, err := domainsOf(ctx, c.cfg.Store, svc, list...)
	return out, next, err
}

// DisassociateCustomDomain starts to take a domain away from a running service. The one domain of
// the answer is deleting and has its validation records; it is gone once Run has removed it. Faults:
// Invalid, NotFound (the service), State.
func (c *Control) DisassociateCustomDomain(ctx context.Context, scope apron.Scope, service, domain string) (CustomDomains, error) {
	var out CustomDomains
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		svc, err := c.domainService(ctx, tx, scope, service)
		if err != nil {
			return err
		}
		list, _, err := tx.CustomDomains(ctx, svc.ID, "", 0)
		if err != nil {
			return err
		}
		for _, d := range list {
			if d.Key() != strings.ToLower(domain) {
				continue
			}
			d.Status, d.UpdatedAt = apron.CustomDomainDeleting, tx.Now()
			if err := tx.UpdateCustomDomain(ctx, d, tx.Now()); err != nil {
				return err
			}
			out, err = domainsOf(ctx, tx, svc, d)
			return err
		}
		return apron.Faultf(apron.Invalid, "No custom domain %s found for the provided service", domain)
	})
	if err != nil {
		return CustomDomains{}, fmt.Errorf("disassociate custom domain: %w", err)
	}
	c.wakeWalk()
	return out, nil
}
