package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"apron/engine/containerd"
)

// Space that a data directory should have: images and builds need it.
const (
	littleSpace = 5 << 30
	noSpace     = 1 << 30
	// fewFiles are less than a base image has.
	fewFiles = 10_000
)

// Doctor looks at everything a server with the configuration needs on this machine. Nothing it does
// outlives it.
func Doctor(ctx context.Context, cfg Config) []containerd.Check {
	all := containerd.Examine(ctx, cfg.Data)
	return append(all, checkDisk(cfg.Data), checkPorts(ctx, cfg), checkClock())
}

func checkDisk(data string) containerd.Check {
	c := containerd.Check{Name: "disk", Advice: "make room, or choose a data directory on a larger file system (--data)"}
	at := data
	for _, err := os.Stat(at); errors.Is(err, os.ErrNotExist) && at != "/"; _, err = os.Stat(at) {
		at = filepath.Dir(at) // where it would be made
	}
	var st unix.Statfs_t
	if c.Err = unix.Statfs(at, &st); c.Err != nil {
		return c
	}
	free := st.Bavail * uint64(st.Bsize)
	c.Found = fmt.Sprintf("%.1f GB are free at %s", float64(free)/(1<<30), at)
	few := st.Files > 0 && st.Ffree < max(fewFiles, st.Files/50) // a file system that does not count has 0
	switch {
	case free < noSpace:
		c.Required = true
		c.Err = fmt.Errorf("only %d MB are free at %s", free>>20, at)
	case few:
		c.Required = st.Ffree < fewFiles
		c.Err = fmt.Errorf("only %d files more can be made at %s", st.Ffree, at)
	case free < littleSpace:
		c.Err = fmt.Errorf("only %.1f GB are free at %s", float64(free)/(1<<30), at)
	}
	return c
}

// checkPorts tries to listen where the server would, unless it does already.
func checkPorts(ctx context.Context, cfg Config) containerd.Check {
	c := containerd.Check{Name: "ports", Required: true, Advice: "end what listens there (ss -ltnp), or choose other addresses, each with a port of its own (--listen, --http, --https); ports below 1024 need root"}
	serve, err := holder(cfg.Data, roleServe)
	router, routerErr := holder(cfg.Data, roleRouter)
	if err := errors.Join(err, routerErr); err != nil {
		c.Err = err
		return c
	}
	var found, wrong []string
	for _, row := range []struct {
		name, addr string
		held       bool
	}{
		{"listen", cfg.Listen, serve != 0}, {"http", cfg.HTTP, router != 0}, {"https", cfg.HTTPS, router != 0},
	} {
		if row.held {
			found = append(found, row.name+" "+row.addr+" (in use by Apron)")
			continue
		}
		found = append(found, row.name+" "+row.addr)
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", row.addr)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("%s: %v", row.name, err))
			continue
		}
		defer l.Close() // not before all of them are tried: two may have the same port
	}
	c.Found = strings.Join(found, ", ")
	if len(wrong) > 0 {
		c.Err = errors.New(strings.Join(wrong, "; "))
	}
	return c
}

// checkClock asks the kernel whether something keeps the clock right (adjtimex(2)): signatures are
// valid for minutes only.
func checkClock() containerd.Check {
	c := containerd.Check{
		Name: "clock", Found: time.Now().UTC().Format(time.RFC3339),
		Advice: "run a time service (systemd-timesyncd, chrony); signed requests are refused when the client's clock and this one differ by more than five minutes",
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		c.Err = fmt.Errorf("ask the kernel: %w", err)
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		c.Err = errors.New("nothing keeps this machine's clock right")
	}
	return c
}
