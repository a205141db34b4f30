// Package deploy holds what each operation does, as lists of steps for the operation runner.
//
// A service's Active revision is the one requests go to, in the store as in the router. Candidate is
// the other revision the operation in progress deals with: before the switch the one being deployed,
// after it the one that served before, which is where a rollback goes; for a service being paused or
// resumed the one that is kept without serving. The operation's end clears it. So a restart at any
// moment finds in these two what to route, what to keep and where to go back to.
//
// Every step is idempotent, because it runs again when the server dies before its checkpoint. A
// step that fails for a reason the user can mend returns an apron.Fault whose message becomes the
// operation's reason. Steps tell the service's life in its log streams, in App Runner's words
// first and with the detail after (reference: developer guide, "log streams").
package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"apron"
	"apron/fleet"
	"apron/logs"
	"apron/operation"
	"apron/source"
	"apron/store"
)

// Resolver turns an image as the client named it into one pinned by content. It returns an Invalid
// Fault when there is no such image. source.Resolver is the real one.
type Resolver interface {
	Resolve(ctx context.Context, scope apron.Scope, identifier string) (apron.Image, error)
}

// Config is what the steps need. Every member is required unless it says otherwise.
type Config struct {
	Store  *store.Store
	Fleet  *fleet.Fleet
	Images Resolver
	Logs   *logs.Store
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now

	// Git, Builder and Checkouts, a directory for source code while it is built, make services from
	// source code. nil: there are none.
	Git       *source.Git
	Builder   Builder
	Checkouts string
	// Credential returns what opens the repositories of a connection. nil: only public ones are open.
	Credential func(ctx context.Context, connectionARN string) (source.GitCredential, error)
}

// deployer carries the steps.
type deployer struct{ Config }

// Plans returns what each type of operation does. Types that are missing cannot be started.
func Plans(cfg Config) map[apron.OperationType]operation.Plan {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &deployer{cfg}
	return map[apron.OperationType]operation.Plan{
		apron.OperationCreate:          d.create(),
		apron.OperationUpdate:          d.update(),
		apron.OperationStartDeployment: d.start(),
		apron.OperationPause:           d.pause(),
		apron.OperationResume:          d.resume(),
		apron.OperationDelete:          d.delete(),
	}
}

// Deadline returns how long an operation of type t may take in all before it fails. It leaves room
// for App Runner's five minutes to become healthy, or, where the operation ends when nothing runs any
// more, for the longest time to drain and to end that the tags of a service can ask for: 8 and 10
// minutes. It stays below the 20 minutes after which Terraform gives up.
func Deadline(t apron.OperationType) time.Duration {
	switch t {
	case apron.OperationPause, apron.OperationDelete:
		return 19 * time.Minute
	case apron.OperationResume:
		return 10 * time.Minute
	default:
		return 18 * time.Minute
	}
}

// revision reads the revision the operation deploys, and its service.
func (d *deployer) revision(ctx context.Context, op apron.Operation) (apron.Service, apron.Revision, error) {
	svc, err := d.Store.Service(ctx, op.Service)
	if err != nil {
		return apron.Service{}, apron.Revision{}, fmt.Errorf("read service: %w", err)
	}
	rev, err := d.Store.Revision(ctx, op.Revision)
	if err != nil {
		return apron.Service{}, apron.Revision{}, fmt.Errorf("read revision: %w", err)
	}
	return svc, rev, nil
}

// events adds lines to the service's event log. A log that cannot be written must not fail a
// deployment; the server's own log says so. A step that is tried again does not say again what it said.
func (d *deployer) events(op apron.Operation, lines ...string) {
	stream := logs.Stream{Service: op.Service, Name: logs.Events}
	if op.Attempt > 1 {
		lines = d.untold(stream, op, lines)
	}
	d.append(stream, op, lines)
}

// recent is more lines than an operation writes.
const recent = 100

// untold leaves out the lines that are in the stream since the operation began.
func (d *deployer) untold(stream logs.Stream, op apron.Operation, lines []string) []string {
	events, err := d.Logs.Read(stream, recent)
	if err != nil {
		d.Log.Error("read service log", "service", op.Service, "operation", op.ID, "err", err)
	}
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return slices.ContainsFunc(events, func(e logs.Event) bool {
			return e.Message == prefix+line && !e.At.Before(op.StartedAt.Truncate(time.Millisecond))
		})
	})
}

// prefix is how App Runner marks what it says itself.
const prefix = "[AppRunner] "

// detail adds lines to the operation's own log.
func (d *deployer) detail(op apron.Operation, lines ...string) {
	d.append(logs.OperationStream(op), op, lines)
}

func (d *deployer) append(stream logs.Stream, op apron.Operation, lines []string) {
	prefixed := make([]string, len(lines))
	for i, l := range lines {
		prefixed[i] = prefix + l
	}
	d.write(stream, op, prefixed)
}

// output adds a line of a build, which has its prefix, to the operation's own log.
func (d *deployer) output(op apron.Operation, line string) {
	d.write(logs.OperationStream(op), op, []string{line})
}

func (d *deployer) write(stream logs.Stream, op apron.Operation, lines []string) {
	if err := d.Logs.Append(stream, d.Now(), lines...); err != nil {
		d.Log.Error("write service log", "service", op.Service, "operation", op.ID, "err", err)
	}
}
