package engine

import (
	"context"
	"time"

	"apron"
)

// Usage is what an instance has used.
type Usage struct {
	Instance apron.InstanceID
	Service  apron.ServiceID
	At       time.Time     // when it was read
	CPU      time.Duration // processor time of the running process; a restart begins again at 0
	Memory   uint64        // bytes held, less what the kernel can take back at once
}

// Meter is implemented by engines that can tell what instances use.
type Meter interface {
	// Usage reads the usage of every instance that runs, cheaply enough to be asked every second.
	Usage(ctx context.Context) ([]Usage, error)
}
