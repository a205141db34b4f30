package router

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// lifeFile says in which life of the machine the kept table's instances were alive.
const lifeFile = "life"

// ForgetInstances has the next router of the data directory send requests to none of the instances that an
// earlier one knew, for whoever has ended them: their addresses are nobody's now, or somebody else's. No
// router may run meanwhile. It succeeds when there is nothing to forget.
func ForgetInstances(dir string) error {
	err := os.Remove(filepath.Join(dir, "router", lifeFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget instances: %w", err)
	}
	return nil
}

// machineLife names the time since the machine was started, or the container that it looks like one: no
// instance is older (random(4): boot_id; proc_pid_stat(5): field 22, when the first process was started).
func machineLife() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("ask for the machine's life: %w", err)
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return "", fmt.Errorf("ask for the machine's life: %w", err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // from the third on
	if len(fields) < 20 {
		return "", errors.New("ask for the machine's life: /proc/1/stat is too short")
	}
	return string(bytes.TrimSpace(boot)) + " " + string(fields[19]), nil
}

// instancesLive reports whether the instances of the kept table may be alive. If nobody can tell they are:
// to lose those that serve would be worse.
func (c *control) instancesLive() bool {
	now, err := machineLife()
	if err != nil {
		c.log.Warn("instances of an earlier life of the machine may be sent requests", "err", err)
		return true
	}
	var then string
	if err := loadJSON(filepath.Join(c.stateDir, lifeFile), &then); err != nil {
		c.log.Error("restore route table", "err", err)
	}
	return then == now
}

// noteLife notes that the instances of the kept table are alive.
func (c *control) noteLife() {
	if c.noted.Load() {
		return
	}
	now, err := machineLife()
	if err != nil {
		return // instancesLive has said so, and a table comes with every change
	}
	if err := saveJSON(filepath.Join(c.stateDir, lifeFile), now); err != nil {
		c.log.Error("keep route table", "err", err)
		return
	}
	c.noted.Store(true)
}
