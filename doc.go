// Package apron holds what exists in Apron and what is legal: services, revisions, operations,
// instances, routes and the faults a client may see.
//
// It is the vocabulary every other package speaks. It does no I/O, knows no wire format and no
// database, and imports only the standard library; repo_test.go keeps it so. Requests enter at
// package api, which converts wire structs to these types; package store converts them to rows.
//
// The Go API of this module is private to the apron binary and may change in any release.
package apron
