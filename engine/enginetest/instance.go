package enginetest

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"apron"
	"apron/engine"
	"apron/health"
)

// Limits of an instance in memory: tests want crash loops and stops to be quick.
const (
	firstBackOff = 5 * time.Millisecond
	maxBackOff   = 200 * time.Millisecond
	grace        = 5 * time.Second // for requests in flight when an instance is stopped
)

// instance is one application "process" at a time, started again when it ends.
type instance struct {
	id        apron.InstanceID
	spec      engine.Spec
	behaviour Behaviour
	roster    *engine.Roster
	ctx       <-chan struct{} // closed once stop was called
	stop      func()
	crashed   chan int      // carries the exit code of a crash to the running process
	done      chan struct{} // closed when nothing of the instance is left
}

func (i *instance) stopping() bool {
	select {
	case <-i.ctx:
		return true
	default:
		return false
	}
}

// crash hands code to the running process; false when there is none to take it.
func (i *instance) crash(code int) bool {
	timer := time.NewTimer(time.Second) // a process between two lives takes it in its next one
	defer timer.Stop()
	select {
	case i.crashed <- code:
		return true
	case <-i.ctx:
		return false
	case <-timer.C:
		return false
	}
}

// run keeps a process alive until ctx is done.
func (i *instance) run(ctx context.Context) {
	now := apron.Instance{ID: i.id, Service: i.spec.Service, Revision: i.spec.Revision}
	for wait := firstBackOff; ; wait = min(2*wait, maxBackOff) {
		failure, err := i.live(ctx, &now)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			failure = apron.Failure{Start: err.Error()}
		}
		now.State, now.Failure = apron.InstanceFailed, &failure
		i.roster.Set(now)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		now.Restarts++
	}
	now.State, now.Failure = apron.InstanceGone, nil
	i.roster.Set(now)
}

// live runs one process until it ends, is found unhealthy or ctx is done, and says why it ended.
func (i *instance) live(ctx context.Context, now *apron.Instance) (apron.Failure, error) {
	sock, addr, err := bind()
	if err != nil {
		return apron.Failure{}, err
	}
	defer sock.Close()
	now.State, now.Addr, now.StartedAt, now.Failure = apron.InstanceStarting, addr, time.Now(), nil
	i.roster.Set(*now)

	probing, stopProbing := context.WithCancel(ctx)
	probed := make(chan struct{})
	current := *now
	go func() {
		defer close(probed)
		// Nil after it has reported Unhealthy, or probing's error: process knows both.
		_ = health.Follow(probing, i.spec.HealthCheck, addr, health.Starting, func(r health.Report) {
			i.judge(&current, r)
		})
	}()
	failure, err := i.process(ctx, sock, probed, func() {
		stopProbing()
		<-probed
		now.State, now.Failure = apron.InstanceStopping, nil
		i.roster.Set(*now)
	})
	stopProbing()
	<-probed
	return failure, err
}

// process serves as the behaviour says until something ends it; the prober does by closing probed. It calls
// leave before it lets go of requests because ctx is done.
func (i *instance) process(ctx context.Context, sock *os.File, probed <-chan struct{}, leave func()) (f apron.Failure, err error) {
	boot := time.NewTimer(i.behaviour.Boot)
	defer boot.Stop()
	listening := boot.C
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case <-ctx.Done():
			leave()
			return apron.Failure{}, nil
		case code := <-i.crashed:
			return i.exit(code), nil
		case <-probed:
			return apron.Failure{Probe: "replaced: the health check failed", Log: i.behaviour.Log}, nil
		case <-listening:
			listening = nil
			if i.behaviour.Exits {
				return i.exit(i.behaviour.Code), nil
			}
			if i.behaviour.Silent {
				continue
			}
			if stop, err = i.serve(sock); err != nil {
				return apron.Failure{}, err
			}
		}
	}
}

func (i *instance) exit(code int) apron.Failure {
	return apron.Failure{Exited: true, ExitCode: code, Log: i.behaviour.Log}
}

// judge reports what a probe changed.
func (i *instance) judge(now *apron.Instance, r health.Report) {
	now.Failure = nil
	switch r.Status {
	case health.Healthy:
		now.State = apron.InstanceReady
	case health.Unhealthy:
		now.State, now.Failure = apron.InstanceUnhealthy, &apron.Failure{Probe: r.Answer}
	case health.Starting:
		now.State, now.Failure = apron.InstanceStarting, &apron.Failure{Probe: r.Answer}
	}
	i.roster.Set(*now)
}

// serve makes the bound socket listen and answers requests on it until the returned stop, which
// waits for requests in flight.
func (i *instance) serve(sock *os.File) (stop func(), err error) {
	if err := unix.Listen(int(sock.Fd()), 128); err != nil {
		return func() {}, fmt.Errorf("listen: %w", err)
	}
	l, err := net.FileListener(sock)
	if err != nil {
		return func() {}, fmt.Errorf("listen: %w", err)
	}
	h := i.behaviour.Handler
	if h == nil {
		h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, i.id) })
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = srv.Serve(l) // always ErrServerClosed: stop is what ends it
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), grace)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
		<-ended
	}, nil
}

// bind reserves a loopback port without listening on it, so that connections are refused until the
// application listens, and nobody else gets the port meanwhile.
func bind() (*os.File, netip.AddrPort, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, netip.AddrPort{}, fmt.Errorf("make socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "instance")
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		f.Close()
		return nil, netip.AddrPort{}, fmt.Errorf("bind socket: %w", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		f.Close()
		return nil, netip.AddrPort{}, fmt.Errorf("read socket address: %w", err)
	}
	in, ok := name.(*unix.SockaddrInet4)
	if !ok {
		f.Close()
		return nil, netip.AddrPort{}, fmt.Errorf("read socket address: not IPv4")
	}
	return f, netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)), nil
}
