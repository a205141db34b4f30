package server

import (
	"log/slog"
	"os"

	"apron/engine/containerd"
)

// JoinPlatform moves the process of serve or the router into the control group of the platform's own
// processes, so that no application and no build can starve it. Without root there are no instances
// beside it, and nothing is done.
func JoinPlatform(cfg Config, log *slog.Logger) { join(cfg, log, containerd.JoinPlatform) }

// JoinEngine is JoinPlatform for the process of the engine.
func JoinEngine(cfg Config, log *slog.Logger) { join(cfg, log, containerd.JoinEngine) }

func join(cfg Config, log *slog.Logger, group func(dir string) error) {
	if os.Geteuid() != 0 {
		return
	}
	if err := group(cfg.Data); err != nil {
		log.Warn("this process has no control group of its own: busy applications can slow it down", "err", err)
	}
}
