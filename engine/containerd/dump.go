package containerd

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// dump repeats a netlink listing that a change elsewhere on the machine interrupted: its result may
// lack entries that were there all the time (netlink.ErrDumpInterrupted).
func dump[T any](what string, list func() ([]T, error)) ([]T, error) {
	const tries = 20
	var err error
	for range tries {
		var all []T
		if all, err = list(); err == nil {
			return all, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return nil, fmt.Errorf("list %s: %w", what, err)
}
