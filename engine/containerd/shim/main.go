// Command shim keeps one instance: containerd's shim for runc, which also writes the instance's log.
//
// containerd's own knows files without stamps or bounds, or a process per instance that does the rest.
// Here output paths of the form apron:<path> mean the log at that path (package logfile), written by
// the shim itself, because it is the one process that lives exactly as long as the instance.
package main

import (
	"context"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

func main() {
	registry.Register(&plugin.Registration{
		Type:     plugins.TTRPCPlugin,
		ID:       "task",
		Requires: []plugin.Type{plugins.EventPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			publisher, err := ic.GetByID(plugins.EventPlugin, "publisher")
			if err != nil {
				return nil, err
			}
			down, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			hurry()
			return newLogging(ic.Context, publisher.(shim.Publisher), down.(shutdown.Service))
		},
	})
	shim.RunShim(context.Background(), brief{manager.NewShimManager("io.containerd.runc.v2")})
}
