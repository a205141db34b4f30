package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
)

// maxFormer bounds how many earlier addresses are remembered.
const maxFormer = 16

// listen opens the API listener. With port 0 it is where the server before this one was, if that is
// free: clients, remotes of repositories and names of images that were pushed go on being right.
func (cp *controlPlane) listen(ctx context.Context) error {
	before, err := readListened(cp.cfg.Data)
	if err != nil {
		cp.log.Warn("where the server listened before is not known", "err", err)
	}
	last := ""
	if len(before) > 0 {
		last = before[0]
	}
	if cp.listener, err = listenAgain(ctx, cp.cfg.Listen, last); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	now := cp.listener.Addr().String()
	cp.former = slices.DeleteFunc(before, func(at string) bool { return at == now })
	cp.former = cp.former[:min(len(cp.former), maxFormer)]
	return writeListened(cp.cfg.Data, append([]string{now}, cp.former...))
}

// listenAgain listens on the address, whose port may be 0, and in that case rather on the port of last.
func listenAgain(ctx context.Context, address, last string) (net.Listener, error) {
	var lc net.ListenConfig
	host, wanted, err := net.SplitHostPort(address)
	if err == nil && wanted == "0" && last != "" {
		if l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, port(last))); err == nil {
			return l, nil
		}
	}
	return lc.Listen(ctx, "tcp", address)
}

// listenedPath is where the addresses are noted that servers of a data directory have listened on.
func listenedPath(data string) string { return filepath.Join(data, "listened.json") }

// readListened returns these addresses, the newest first.
func readListened(data string) (all []string, err error) {
	b, err := os.ReadFile(listenedPath(data))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read listener's addresses: %w", err)
	}
	return all, nil
}

func writeListened(data string, all []string) error {
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("note listener's address: %w", err)
	}
	name := listenedPath(data)
	if err := errors.Join(os.WriteFile(name+".new", append(b, '\n'), 0o600), os.Rename(name+".new", name)); err != nil {
		return fmt.Errorf("note listener's address: %w", err)
	}
	return nil
}
