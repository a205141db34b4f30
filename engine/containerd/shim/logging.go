package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	runc "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	goRunc "github.com/containerd/go-runc"

	"apron/engine/containerd/logfile"
)

// scheme begins output paths that name a log.
const scheme = "apron:"

// drainPatience is how long a deletion waits for the last lines to be written.
const drainPatience = 5 * time.Second

// logging is containerd's task service for runc with logs of its own.
type logging struct {
	task.TTRPCTaskService

	mu    sync.Mutex // guards ended
	ended map[string]<-chan struct{}
}

func newLogging(ctx context.Context, p shim.Publisher, s shutdown.Service) (*logging, error) {
	inner, err := runc.NewTaskService(ctx, p, s)
	if err != nil {
		return nil, err
	}
	goRunc.Monitor = monitor{goRunc.Monitor} // the service has just set it
	return &logging{TTRPCTaskService: inner, ended: map[string]<-chan struct{}{}}, nil
}

// Create implements the task service. An instance's output goes through two pipes: containerd opens
// their writing ends by path, as it would named pipes.
func (l *logging) Create(ctx context.Context, r *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	base, ok := strings.CutPrefix(r.GetStdout(), scheme)
	if !ok {
		return l.TTRPCTaskService.Create(ctx, r)
	}
	w, err := logfile.OpenWriter(base, logfile.Limits{}, time.Now)
	if err != nil {
		return nil, err
	}
	out, outPath, err := stream(w, logfile.Stdout)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	errs, errPath, err := stream(w, logfile.Stderr)
	if err != nil {
		_ = out.writing.Close() // ends its copying, which closes the rest
		<-out.ended
		return nil, errors.Join(err, w.Close())
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-out.ended
		<-errs.ended
		_ = w.Close() // every line was one write
	}()
	r.Stdout, r.Stderr = outPath, errPath
	resp, err := l.TTRPCTaskService.Create(ctx, r)
	// containerd has opened them by now: the last of its ends that closes is the end of the output.
	_, _ = out.writing.Close(), errs.writing.Close()
	if err != nil {
		<-ended
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[r.GetID()] = ended
	return resp, nil
}

// Delete implements the task service. By the time it returns, everything the instance wrote is in its
// log.
func (l *logging) Delete(ctx context.Context, r *task.DeleteRequest) (*task.DeleteResponse, error) {
	resp, err := l.TTRPCTaskService.Delete(ctx, r)
	if err != nil || r.GetExecID() != "" {
		return resp, err
	}
	l.mu.Lock()
	ended := l.ended[r.GetID()]
	delete(l.ended, r.GetID())
	l.mu.Unlock()
	if ended != nil {
		select {
		case <-ended:
		case <-time.After(drainPatience):
		}
	}
	return resp, nil
}

// output is one stream of an instance on its way to the log.
type output struct {
	writing *os.File
	ended   <-chan struct{} // closed when everything is in the log
}

// stream makes a pipe whose content goes to the log, and says how its writing end is opened again.
func stream(w *logfile.Writer, s logfile.Stream) (o output, path string, err error) {
	reading, writing, err := os.Pipe()
	if err != nil {
		return output{}, "", fmt.Errorf("make pipe: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer reading.Close()
		_ = w.Copy(s, reading) // nobody is left to tell
	}()
	return output{writing, ended}, fmt.Sprintf("/proc/self/fd/%d", writing.Fd()), nil
}
