package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"apron"
	"apron/store"
)

// Pauses before another try when the store fails.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
)

// Run moves the statuses of VPC ingress connections and custom domains on when they are due, and
// deploys the pushes that had to wait for an operation, until ctx is done; it then returns ctx's error. What is due is in the store, so another Run goes on
// where one ended, however it ended; several may run at once, on other machines too.
func (c *Control) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.walkOn(ctx) })
	g.Go(func() error { return c.deployPushes(ctx) })
	g.Go(func() error { return c.listen(ctx) })
	return g.Wait()
}

// wakeWalk has Run look for due statuses. It never blocks.
func (c *Control) wakeWalk() {
	select {
	case c.walk <- struct{}{}:
	default: // it will look anyway
	}
}

// walkOn advances what is due, then waits for the next due time or for a write.
func (c *Control) walkOn(ctx context.Context) error {
	pause := firstRetry
	for {
		next, err := c.Advance(ctx)
		var timer <-chan time.Time
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.cfg.Log.Error("advance statuses", "err", err, "retry_in", pause)
			if err := wait(ctx, pause); err != nil {
				return err
			}
			pause = min(2*pause, maxRetry)
			continue
		case !next.IsZero():
			timer = time.After(max(next.Sub(c.cfg.Now()), time.Millisecond))
		}
		pause = firstRetry
		select {
		case <-timer:
		case <-c.walk:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listen wakes Run for what other processes write.
func (c *Control) listen(ctx context.Context) error {
	for pause := firstRetry; ; pause = min(2*pause, maxRetry) {
		err := c.cfg.Store.Wakes(ctx, func() { pause = firstRetry; c.wakeWalk(); c.OperationEnded() })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.cfg.Log.Warn("lost notifications of the store", "err", err, "retry_in", pause)
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Advance moves on every status that is due now, and returns when the next one is; the zero time is
// never. Run does nothing else. Each is a transaction of its own: an error leaves what is done done.
func (c *Control) Advance(ctx context.Context) (time.Time, error) {
	for _, step := range []func(context.Context) (bool, error){c.advanceIngress, c.advanceDomain} {
		for {
			more, err := step(ctx)
			if err != nil {
				return time.Time{}, err
			}
			if !more {
				break
			}
		}
	}
	next, ok, err := c.cfg.Store.NextDue(ctx)
	if err != nil || !ok {
		return time.Time{}, err
	}
	return next, nil
}

// advanceIngress moves one VPC ingress connection on, and reports whether there was one.
func (c *Control) advanceIngress(ctx context.Context) (bool, error) {
	var v apron.VPCIngressConnection
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) (err error) {
		if v, err = tx.DueVPCIngressConnection(ctx); err != nil {
			return err
		}
		reachable, err := c.reachable(ctx, tx, v)
		if err != nil {
			return err
		}
		status := nextIngress(v.Status, reachable)
		if !v.Status.CanBecome(status) {
			return fmt.Errorf("VPC ingress connection %s is %s and cannot become %s", v.ARN, v.Status, status)
		}
		v.Status = status
		switch {
		case status == apron.VPCIngressAvailable && v.Host == "":
			v.Host = c.newHost(v.ARN.Scope.Region)
		case status == apron.VPCIngressDeleted:
			v.DeletedAt = tx.Now()
		}
		return tx.UpdateVPCIngressConnection(ctx, v, time.Time{})
	})
	if errors.Is(err, store.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("advance VPC ingress connection: %w", err)
	}
	c.cfg.Log.Info("VPC ingress connection changed", "arn", v.ARN.String(), "service", v.Service.ID, "status", v.Status)
	return true, nil
}

// reachable reports whether a VPC ingress connection has a private service to lead to.
func (c *Control) reachable(ctx context.Context, tx *store.Tx, v apron.VPCIngressConnection) (bool, error) {
	svc, err := tx.Service(ctx, apron.ServiceID(v.Service.ID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && svc.Status != apron.ServiceDeleted && !svc.Config.Network.Public, err
}

// nextIngress returns the status after s; what needs no step stays as it is.
func nextIngress(s apron.VPCIngressStatus, reachable bool) apron.VPCIngressStatus {
	switch {
	case s == apron.VPCIngressPendingDeletion:
		return apron.VPCIngressDeleted
	case s == apron.VPCIngressPendingCreation && !reachable:
		return apron.VPCIngressFailedCreation
	case s == apron.VPCIngressPendingUpdate && !reachable:
		return apron.VPCIngressFailedUpdate
	case s == apron.VPCIngressPendingCreation, s == apron.VPCIngressPendingUpdate:
		return apron.VPCIngressAvailable
	default:
		return s
	}
}

// advanceDomain moves one custom domain on, and reports whether there was one.
func (c *Control) advanceDomain(ctx context.Context) (bool, error) {
	var next apron.CustomDomain
	var gone bool
	err := c.cfg.Store.Tx(ctx, func(tx *store.Tx) error {
		d, err := tx.DueCustomDomain(ctx)
		if err != nil {
			return err
		}
		svc, err := tx.Service(ctx, d.Service)
		if err != nil {
			return err
		}
		if svc.Status == apron.ServiceDeleted {
			next, gone = d, true
			return tx.DeleteCustomDomain(ctx, d)
		}
		var due time.Time
		if next, due, gone = nextDomain(d, c.cfg.SimulateValidation, tx.Now()); gone {
			return tx.DeleteCustomDomain(ctx, d)
		}
		if !d.Status.CanBecome(next.Status) {
			return fmt.Errorf("custom domain %s is %s and cannot become %s", d.Domain, d.Status, next.Status)
		}
		return tx.UpdateCustomDomain(ctx, next, due)
	})
	if errors.Is(err, store.ErrNone) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("advance custom domain: %w", err)
	}
	status := string(next.Status)
	if gone {
		status = "gone"
	}
	c.cfg.Log.Info("custom domain changed", "domain", next.Domain, "service", next.Service, "status", status)
	return true, nil
}
