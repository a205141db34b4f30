package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/cio"

	"apron"
	"apron/engine"
	"apron/engine/containerd/logfile"
)

var _ engine.LogReader = (*Driver)(nil)

// ReadLog implements engine.LogReader.
func (d *Driver) ReadLog(ctx context.Context, id apron.InstanceID, o engine.LogOptions, fn func(engine.LogLine) error) (next int64, err error) {
	if _, err := d.await(ctx); err != nil {
		return 0, err
	}
	if _, ok := d.roster.Get(id); !ok {
		return 0, apron.Faultf(apron.NotFound, "There is no instance %s.", id)
	}
	base := logBase(d.cfg.Dir, id)
	next = o.Offset
	pass := func(l logfile.Line) error {
		next = l.Next
		return fn(engine.LogLine{
			Offset: l.Offset, Next: l.Next, At: l.At, Stderr: l.Stream == logfile.Stderr, Partial: l.Partial, Text: string(l.Text),
		})
	}
	if o.Follow {
		return next, logfile.Follow(ctx, base, o.Offset, pass)
	}
	_, err = logfile.Read(base, o.Offset, pass)
	return next, err
}

// output says where the shim puts what an instance's process writes, and where in the log that begins.
func (s *session) output(id apron.InstanceID) (to cio.Creator, from int64, err error) {
	base := logBase(s.cfg.Dir, id)
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		return nil, 0, fmt.Errorf("make log directory: %w", err)
	}
	if from, err = logfile.End(base); err != nil {
		return nil, 0, err
	}
	if embedded() {
		return outputTo("apron:"+base, "apron:"+base), from, nil
	}
	path, err := makeRawLog(base)
	if err != nil {
		return nil, 0, err
	}
	// containerd's own shim is given two spellings of the file and so opens it twice: what it opens once
	// for both streams (as it does for cio.LogFile) it closes when the first of them ends, and the rest
	// of the other, like the last words of a process on standard error, is lost
	// (containerd-shim-runc-v2, process/io.go, copyPipes; github.com/containerd/containerd/issues/3118).
	dir, file := filepath.Split(path)
	return outputTo(path, dir+"./"+file), from, nil
}

func outputTo(stdout, stderr string) cio.Creator {
	return func(string) (cio.IO, error) {
		return cio.Load(cio.NewFIFOSet(cio.Config{Stdout: stdout, Stderr: stderr}, nil))
	}
}
