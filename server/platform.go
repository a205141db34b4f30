package server

import (
	"log/slog"
	"os"

	"apron/engine/containerd"
)

// JoinPlatform moves this process into the control group of the platform's own processes, so that no
// application and no build can starve it. Without root there are no instances beside it, and nothing
// is done.
func JoinPlatform(cfg Config, log *slog.Logger) {
	if os.Geteuid() != 0 {
		return
	}
	if err := containerd.JoinPlatform(cfg.Data); err != nil {
		log.Warn("this process has no control group of its own: busy applications can slow it down", "err", err)
	}
}
