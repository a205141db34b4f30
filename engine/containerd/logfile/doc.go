// Package logfile keeps what an instance's process writes to its standard output and standard error:
// stamped lines in segment files of bounded size and number.
//
// A line is `<RFC 3339 time> <stdout|stderr> <F|P> <text>`, the form Kubernetes gives container logs
// (CRI logging), so that log collectors read it; P marks a part of a line that was too long. A line's
// offset counts from the first byte ever written, also after old segments are gone, and the name of
// a segment, `<instance>.<offset in 16 hex digits>.log`, tells where it begins.
//
// The shim of an instance writes, whatever becomes of the platform; the driver reads.
package logfile
