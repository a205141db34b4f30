package router

import (
	"context"
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// room is how many connections of users fit in the file descriptors this process may have open.
// Requests need some as well, for connections to instances: a router that accepted until there are
// none left could answer nobody. Where there is none, connections on which nothing happens end.
type room struct {
	most  int64
	open  atomic.Int64
	freed chan struct{} // capacity 1: there is room again, where there was none
	short atomic.Bool   // somebody waits for it
}

const (
	// spareDescriptors are kept for what is not a user's connection, at least, and one in
	// spareShare of them.
	spareDescriptors = 64
	spareShare       = 4
	// roomPause is how long to wait for a connection to end before more idle ones are told to; and when
	// memory, or the whole system's descriptors, are short, it may be another process that makes room.
	roomPause = 100 * time.Millisecond
	// roomIdle is how long a connection must have been idle to be ended for others: its next request
	// may be on the way, and would be lost.
	roomIdle = 100 * time.Millisecond
)

// short reports whether what failed did so for want of something that this machine lacks, and whoever
// is at the other end has nothing to do with it.
func short(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL:
		return true
	default:
		return false
	}
}

func newRoom() *room {
	r := &room{most: 1 << 62, freed: make(chan struct{}, 1)}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur < 1<<62 {
		n := int64(limit.Cur)
		r.most = max(n-max(n/spareShare, spareDescriptors), 1)
	}
	return r
}

// has reports whether another connection fits.
func (r *room) has() bool { return r.open.Load() < r.most }

func (r *room) enter() { r.open.Add(1) }

func (r *room) leave() {
	r.open.Add(-1)
	if r.short.Load() && r.short.Swap(false) {
		select {
		case r.freed <- struct{}{}:
		default:
		}
	}
}

// await returns when a connection has ended, or after roomPause, and reports whether ctx goes on. With
// full it does so at once when there is room already.
func (r *room) await(ctx context.Context, full bool) bool {
	r.short.Store(true)
	if full && r.has() {
		return ctx.Err() == nil
	}
	pause := time.NewTimer(roomPause)
	defer pause.Stop()
	select {
	case <-r.freed:
	case <-pause.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
