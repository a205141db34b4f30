// Package api speaks the App Runner API (2020-05-15) over HTTP: it authenticates a request, checks
// it against the service model, converts it to root types, has control carry it out, and writes
// the answer or the error in the form App Runner's clients expect.
//
// A request walks through handler.go (front door: which service of AWS it is for, and who signed it,
// with sigv4), app_runner.go (which action), decode.go (JSON and the model's constraints), one
// function per action (service.go and a file for each other noun), and leaves through handler.go or
// fault.go. To add an action, write one function on wire structs and name it in the table of
// action.go. To add a service, implement awsService, as sts.go does, and name it in New.
//
// Wire structs and constraints are generated from model.json. The rules behind them are those of
// the App Runner API reference; docs/compat.md lists where Apron differs.
package api

//go:generate go run ./gen
