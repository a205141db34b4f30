package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"apron"
	"apron/engine"
)

// Status is how the server on this machine is.
type Status struct {
	Data      string
	Processes []ProcessStatus // of the three roles
	// The following is told by the server itself: nil while it does not run or is not ready.
	Server *Live
}

// ProcessStatus is one role and who plays it.
type ProcessStatus struct {
	Role string
	PID  int // 0: nobody plays it
}

// Live is what a running server says of itself.
type Live struct {
	Ready     bool                        // services are back in the router and operations run
	Listen    string                      // host:port of the API listener
	HTTP      string                      // host:port of the router's plain listener; empty: not known yet
	HTTPS     string                      // host:port of the router's TLS listener; empty: not known yet
	Engine    engine.Description          // what runs instances
	Services  map[apron.ServiceStatus]int // how many services there are, by status
	Instances map[apron.InstanceState]int // how many instances there are, by state
}

// serveStatus answers with a Live.
func (cp *controlPlane) serveStatus(w http.ResponseWriter, r *http.Request) {
	s, err := cp.status(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, s)
}

func (cp *controlPlane) status(ctx context.Context) (Live, error) {
	s := Live{
		Listen:   reachable(cp.listener.Addr().String()),
		Services: map[apron.ServiceStatus]int{}, Instances: map[apron.InstanceState]int{},
	}
	select {
	case <-cp.restored:
		s.Ready = true
	default:
		return s, nil
	}
	if bound := cp.bound.Load(); bound != nil {
		s.HTTP, s.HTTPS = reachable(bound.HTTP), reachable(bound.HTTPS)
	}
	if d, ok := engine.Engine(cp.engine).(engine.Describer); ok {
		var err error
		if s.Engine, err = d.Describe(ctx); err != nil {
			return s, fmt.Errorf("ask the engine what it is: %w", err)
		}
	}
	services, err := cp.store.LiveServices(ctx)
	if err != nil {
		return s, fmt.Errorf("list services: %w", err)
	}
	for _, svc := range services {
		s.Services[svc.Status]++
	}
	instances, err := instancesOf(ctx, cp.engine, "")
	if err != nil {
		return s, err
	}
	for _, i := range instances {
		s.Instances[i.State]++
	}
	return s, nil
}

// ReadStatus looks who plays the roles of the data directory and asks the server, if one runs.
func ReadStatus(ctx context.Context, cfg Config) (Status, error) {
	s := Status{Data: cfg.Data}
	for _, role := range []string{roleServe, roleRouter, roleEngine} {
		pid, err := holder(cfg.Data, role)
		if err != nil && !errors.Is(err, os.ErrPermission) {
			return s, err
		}
		s.Processes = append(s.Processes, ProcessStatus{Role: role, PID: pid})
	}
	if s.Processes[0].PID == 0 {
		return s, nil
	}
	resp, err := Local{Data: cfg.Data}.getLocal(ctx, "/status")
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	s.Server = new(Live)
	if err := json.NewDecoder(resp.Body).Decode(s.Server); err != nil {
		return s, fmt.Errorf("read the server's answer: %w", err)
	}
	return s, nil
}
