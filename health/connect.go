package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// connect makes a TCP connection to addr and closes it again, or returns why it could not within
// timeout. To an instance on this machine the kernel has made it by the time it is asked for the second
// time: hundreds of instances are probed without a deadline, a thread that polls, or a goroutine for
// any of them.
func connect(ctx context.Context, addr netip.AddrPort, timeout time.Duration) error {
	if !addr.Addr().Is4() {
		return dial(ctx, addr, timeout)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	to := &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())}
	if err = unix.Connect(fd, to); pending(err) {
		err = unix.Connect(fd, to) // asks how it went
	}
	if !pending(err) {
		_ = unix.Close(fd) // nothing was written that closing could lose
		return err
	}
	return await(ctx, fd, to, timeout)
}

// pending reports whether err says that a connection is still being made (connect(2)).
func pending(err error) bool {
	return errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EALREADY)
}

// await waits until the connection that fd is making is made, and closes it.
func await(ctx context.Context, fd int, to unix.Sockaddr, timeout time.Duration) error {
	f := os.NewFile(uintptr(fd), "probe")
	defer f.Close()
	if err := f.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for connection: %w", err)
	}
	var made error
	err = conn.Write(func(fd uintptr) bool {
		made = unix.Connect(int(fd), to)
		return !pending(made)
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("wait for connection: %w", err)
	default:
		return made
	}
}

// dial is connect for any address.
func dial(ctx context.Context, addr netip.AddrPort, timeout time.Duration) error {
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	_ = conn.Close() // the same
	return nil
}
