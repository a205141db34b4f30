// Package api speaks the App Runner API (2020-05-15) over HTTP: it authenticates a request, checks
// it against the service model, converts it to root types, has control carry it out, and writes
// the answer or the error in the form App Runner's clients expect.
//
// A request walks through handler.go (front door), sigv4 (who signed it), decode.go (JSON and the
// model's constraints), one function per action (service.go, operation.go), and leaves through
// handler.go or fault.go. To add an action, write one function on wire structs and name it in the
// table of action.go.
//
// Wire structs and constraints are generated from model.json. The rules behind them are those of
// the App Runner API reference; docs/compat.md lists where Apron differs.
package api

//go:generate go run ./gen
