package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"apron"
	"apron/engine"
)

// ApplicationLine is one line that an instance of a service wrote.
type ApplicationLine struct {
	Instance apron.InstanceID
	At       time.Time
	Stderr   bool
	Text     string
}

// serveLogs answers with ApplicationLines of the instances of a service: the newest, and with follow
// all that come, those of instances that start later too.
func (cp *controlPlane) serveLogs(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	reader, ok := engine.Engine(cp.engine).(engine.LogReader)
	if !ok {
		http.Error(w, "the engine keeps no logs", http.StatusNotImplemented)
		return
	}
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("lines"))
	if err != nil || limit < 0 {
		http.Error(w, "lines is not a number", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &lineWriter{w: json.NewEncoder(w), flush: http.NewResponseController(w).Flush}
	service := apron.ServiceID(q.Get("service"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	next, err := cp.recentLines(ctx, reader, service, limit, out)
	if err != nil {
		cp.log.Warn("read what instances wrote", "service", service, "err", err)
		return
	}
	if q.Get("follow") != "" {
		cp.followLines(ctx, reader, service, next, out)
	}
}

// lineWriter sends lines of several instances. Safe for concurrent use.
type lineWriter struct {
	mu    sync.Mutex // keeps lines whole
	w     *json.Encoder
	flush func() error
}

func (l *lineWriter) write(lines ...ApplicationLine) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines {
		if err := l.w.Encode(line); err != nil {
			return fmt.Errorf("send line: %w", err)
		}
	}
	return l.flush()
}

func lineOf(id apron.InstanceID, l engine.LogLine) ApplicationLine {
	return ApplicationLine{Instance: id, At: l.At, Stderr: l.Stderr, Text: l.Text}
}

// recentLines sends the newest lines of all instances together, oldest first, and returns where each
// instance's log goes on.
func (cp *controlPlane) recentLines(ctx context.Context, from engine.LogReader, service apron.ServiceID, limit int, to *lineWriter) (map[apron.InstanceID]int64, error) {
	instances, err := instancesOf(ctx, cp.engine, service)
	if err != nil {
		return nil, err
	}
	next := map[apron.InstanceID]int64{}
	var all []ApplicationLine
	for _, i := range instances {
		var own []ApplicationLine
		next[i.ID], err = from.ReadLog(ctx, i.ID, engine.LogOptions{}, func(l engine.LogLine) error {
			if own = append(own, lineOf(i.ID, l)); len(own) >= 2*limit+64 { // not at every line
				own = slices.Delete(own, 0, len(own)-limit)
			}
			return ctx.Err()
		})
		if apron.KindOf(err) == apron.NotFound {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, own...)
	}
	slices.SortStableFunc(all, func(a, b ApplicationLine) int { return a.At.Compare(b.At) })
	return next, to.write(all[max(0, len(all)-limit):]...)
}

// followLines sends the lines that come until ctx is done.
func (cp *controlPlane) followLines(ctx context.Context, from engine.LogReader, service apron.ServiceID, next map[apron.InstanceID]int64, to *lineWriter) {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	followed := map[apron.InstanceID]bool{}
	_ = cp.engine.Watch(ctx, nil, func(i apron.Instance) { // until ctx is done
		if i.Service != service || followed[i.ID] || i.State == apron.InstanceGone {
			return
		}
		if i.StartedAt.IsZero() {
			return // there is no log yet; its start is reported too
		}
		followed[i.ID] = true
		readers.Go(func() {
			_, err := from.ReadLog(ctx, i.ID, engine.LogOptions{Offset: next[i.ID], Follow: true}, func(l engine.LogLine) error {
				return to.write(lineOf(i.ID, l))
			})
			if err != nil && ctx.Err() == nil {
				cancel() // the client went away
			}
		})
	})
}

// ApplicationLog calls fn for the newest lines that the instances of a service wrote, at most limit of
// them, and with follow for all that come until ctx is done.
func (l Local) ApplicationLog(ctx context.Context, id apron.ServiceID, limit int, follow bool, fn func(ApplicationLine) error) error {
	q := url.Values{"service": {string(id)}, "lines": {strconv.Itoa(limit)}}
	if follow {
		q.Set("follow", "1")
	}
	resp, err := l.getLocal(ctx, "/logs?"+q.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var line ApplicationLine
		err := lines.Decode(&line)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		if err := fn(line); err != nil {
			return err
		}
	}
}
