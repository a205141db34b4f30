// Package containerd is the engine driver for one Linux machine: containerd compiled into the
// binary, one runc shim per instance, a bridge and network namespaces of our own.
//
// It has two halves in two processes. [Serve] is the engine child: containerd on a unix socket under
// the data directory, without any knowledge of services. [Driver] is its client inside the control
// plane: it implements engine.Engine, keeps the asked number of instances alive, probes and restarts
// them. Either process may die at any time: instances hang on their shims alone, and the next Driver
// finds them by their labels. [Teardown] removes everything both left on the machine.
package containerd
