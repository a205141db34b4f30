// Command shim keeps one instance: containerd's shim for runc, which also writes the instance's log.
//
// containerd's own knows files without stamps or bounds, or a process per instance that does the rest.
// Here output paths of the form apron:<path> mean the log at that path (package logfile), written by
// the shim itself, because it is the one process that lives exactly as long as the instance.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/pkg/shim"
)

func main() {
	ctx := context.Background()
	namespace, ok := serving(os.Args[1:])
	if !ok {
		shim.RunShim(ctx, brief{manager.NewShimManager("io.containerd.runc.v2")})
		return
	}
	if err := serve(ctx, namespace); err != nil {
		fmt.Fprintln(os.Stderr, "shim:", err)
		os.Exit(1)
	}
}
