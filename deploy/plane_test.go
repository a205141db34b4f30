package deploy_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"apron"
	"apron/control"
	"apron/deploy"
	"apron/fleet"
	"apron/operation"
	"apron/router"
)

// plane is one life of the control plane.
type plane struct {
	*control.Control
	client *router.Client
	fleet  *fleet.Fleet
	stop   func()          // returns when nothing of it runs any more
	done   <-chan struct{} // closed when it is being stopped, or crashes
}

// sabotage changes what operations do. crash ends the control plane at once, from inside a step.
type sabotage func(crash func(), plans map[apron.OperationType]operation.Plan, cfg *operation.Config)

// reach starts the control plane again, now and from then on with a fleet configured otherwise.
func (w *world) reach(change func(*fleet.Config)) {
	w.Helper()
	w.change = change
	w.boot(nil)
}

// boot starts a control plane in place of the one before.
func (w *world) boot(s sabotage) {
	w.Helper()
	if w.plane != nil {
		w.plane.stop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	p := &plane{done: ctx.Done(), client: router.NewClient(router.ClientConfig{Socket: w.socket, Log: log})}
	outfit := fleet.Config{
		Store: w.store, Engine: w.engine, Router: p.client, Log: log,
		StartWindow: 5 * time.Second, DrainTimeout: patience,
	}
	if w.change != nil {
		w.change(&outfit)
	}
	p.fleet = fleet.New(outfit)
	steps := deploy.Config{Store: w.store, Fleet: p.fleet, Images: w.images, Logs: w.logs, Log: log}
	if w.code != nil {
		steps.Git, steps.Builder, steps.Checkouts, steps.Credential = w.code.git, w.code, w.code.checkouts, w.code.credential
	}
	plans := deploy.Plans(steps)
	cfg := operation.Config{
		Store: w.store, Plans: plans, Name: "test", Log: log, Backoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		Ended: func(op apron.Operation) {
			p.fleet.Tidy(op.Service)
			p.OperationEnded()
		},
	}
	if s != nil {
		s(cancel, plans, &cfg)
	}
	runner := operation.New(cfg)
	p.Control = control.New(control.Config{
		Store: w.store, Domain: "apron.test", Wake: runner.Wake, Deadline: deploy.Deadline, Log: log,
	})
	var parts sync.WaitGroup
	part := func(name string, fn func(context.Context) error) {
		parts.Go(func() {
			if err := fn(ctx); err != nil && ctx.Err() == nil {
				w.Errorf("%s ended: %v", name, err)
			}
		})
	}
	p.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	w.Cleanup(p.stop)
	w.plane = p
	part("client", p.client.Run)
	part("fleet", p.fleet.Run)
	if err := p.fleet.Restore(ctx); err != nil {
		w.Fatal(err)
	}
	part("runner", runner.Run)
	part("control", p.Run)
}

// crashIn makes the control plane end in the step of the plan: after its effect, before its
// checkpoint, or with checkpointed after that. It counts the crashes.
func crashIn(t apron.OperationType, step string, checkpointed bool, crashes *int) sabotage {
	return func(crash func(), plans map[apron.OperationType]operation.Plan, cfg *operation.Config) {
		if checkpointed {
			cfg.AfterStep = func(op apron.Operation, done string) {
				if op.Type == t && done == step {
					*crashes++
					crash()
				}
			}
			return
		}
		plan := plans[t]
		for _, steps := range [][]operation.Step{plan.Steps, plan.Undo} {
			for i, s := range steps {
				if s.Name != step {
					continue
				}
				steps[i].Run = func(ctx context.Context, op apron.Operation) error {
					err := s.Run(ctx, op)
					if err == nil {
						*crashes++
						crash()
						err = errors.Join(errors.New("crashed"), context.Canceled)
					}
					return err
				}
			}
		}
	}
}
