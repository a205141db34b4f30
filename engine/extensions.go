package engine

import (
	"context"
	"io"
	"time"

	"apron"
)

// Usage is what an instance has used.
type Usage struct {
	Instance apron.InstanceID
	Service  apron.ServiceID
	At       time.Time     // when it was read
	CPU      time.Duration // processor time of the running process; a restart begins again at 0
	Memory   uint64        // bytes held, less what the kernel can take back at once
}

// Meter is implemented by engines that can tell what instances use.
type Meter interface {
	// Usage reads the usage of every instance that runs, cheaply enough to be asked every second.
	Usage(ctx context.Context) ([]Usage, error)
}

// Size is the size of a terminal in characters.
type Size struct{ Columns, Rows uint16 }

// Command is what to run inside an instance. The nil value of a stream is one that is empty, or that
// nobody reads.
type Command struct {
	Args   []string // argument vector; the program is looked up in the application's PATH
	Env    []string // NAME=value on top of the application's environment
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer   // unused with a terminal, which has one output
	TTY    bool        // give it a terminal
	Resize <-chan Size // sizes of the terminal, the first one at once; unused without one
}

// Execer is implemented by engines that can run a command inside a live instance.
type Execer interface {
	// Exec runs the command beside the instance's application, as the same user and under the same
	// limits, and returns its exit code when it has ended and everything it wrote has been passed on.
	// When ctx is done it is killed. An instance that does not run is a NotFound Fault. A command that
	// cannot be started is an Invalid one and has the exit code it would have in a shell (POSIX, 2.8.2):
	// 127 if there is no such program, 126 if it cannot be executed. Stdin is not read any more once Exec has returned, but a Read
	// that waits may still be waiting.
	Exec(ctx context.Context, id apron.InstanceID, c Command) (exitCode int, err error)
}

// Description is what an engine can do on the machine it found, for people.
type Description struct {
	Driver  string   // its name
	Tier    string   // how instances are kept apart from each other and from the machine
	Reasons []string // why the tier is not a better one; none: it is the best
	Storage string   // how what instances write is kept within its limit; empty: nobody knows
}

// Describer is implemented by engines that do not work equally well on every machine.
type Describer interface {
	// Describe returns what the engine found; it waits until the engine has looked.
	Describe(ctx context.Context) (Description, error)
}

// LogLine is one line an instance wrote, or part of one that was very long.
type LogLine struct {
	Offset  int64     // where it begins in the instance's log
	Next    int64     // where the next line begins: the offset to go on at
	At      time.Time // when it was written; zero: not known
	Stderr  bool      // to standard error, not standard output
	Partial bool      // more of the same line follows in the next
	Text    string    // without the line's end; any bytes but that
}

// LogOptions says what to read of an instance's log. The zero value is everything there is.
type LogOptions struct {
	Offset int64 // where to begin; lines that are no longer kept are skipped
	Follow bool  // wait for more, until the context is done or the instance is gone
}

// LogReader is implemented by engines that keep what instances write.
type LogReader interface {
	// ReadLog calls fn for each line, oldest first, over all restarts of the instance, and returns the
	// offset to go on at. Lines are kept while the instance exists, the newest of them at least up to a
	// size that the engine sets. An instance that does not exist is a NotFound Fault; an error of fn
	// ends the reading and is returned.
	ReadLog(ctx context.Context, id apron.InstanceID, o LogOptions, fn func(LogLine) error) (next int64, err error)
}

// Reserver is implemented by engines that can make instances in advance, which start sooner then.
type Reserver interface {
	// Reserve asks for n instances of the spec's revision that are made and not started, in place of
	// whatever was asked for before, and returns when the engine has taken note. Scale takes from them
	// first, and an instance that fails is replaced by one of them where that is sooner than starting it
	// again; the engine makes up for those. They run nothing, are not reported, and are let go of with the
	// revision; the next driver has none until it is asked. The revision must have been prepared.
	Reserve(ctx context.Context, spec Spec, n int) error
}

// Freezer is implemented by engines that can stop an instance in the middle of what it does.
type Freezer interface {
	// Freeze stops a ready instance, which then uses no processor time and keeps its memory, or lets it
	// go on. A frozen instance is reported ready and not probed; stopping it works as ever. It takes
	// well under a millisecond, and another driver finds no instance frozen. An instance that is not
	// there is a NotFound Fault, one that is not ready a State Fault.
	Freeze(ctx context.Context, id apron.InstanceID, frozen bool) error
}
