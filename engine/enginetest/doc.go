// Package enginetest holds the suite every engine driver passes, and an engine in memory for tests
// of the packages above the seam.
//
// [Run] is the contract of engine.Engine as tests; a driver's own tests call it with a [Harness] that
// knows how to provide images and how to look at what is left. [Memory] is an engine whose instances
// are real HTTP servers on loopback listeners inside the test process: it passes the suite and is
// the one fake of the project. Neither is part of the binary.
package enginetest
