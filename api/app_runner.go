package api

import (
	"context"
	"net/http"
	"strings"

	"apron/control"
)

const (
	appRunnerName = "apprunner" // signing name
	jsonType      = "application/x-amz-json-1.0"
	targetPrefix  = "AppRunner."
)

// appRunner is App Runner, which speaks awsJson1_0: X-Amz-Target names the action, input and output
// are JSON objects.
type appRunner struct {
	control *control.Control
	actions map[string]action
}

func newAppRunner(c *control.Control) *appRunner {
	a := &appRunner{control: c}
	a.actions = a.table()
	return a
}

func (a *appRunner) head(r *http.Request) (string, error) {
	values := r.Header["X-Amz-Target"]
	if r.Method != http.MethodPost || len(values) != 1 {
		return "", errUnknownOperation
	}
	name, ok := strings.CutPrefix(values[0], targetPrefix)
	if !ok || models[name] == nil {
		return "", errUnknownOperation
	}
	return name, nil
}

func (a *appRunner) serve(ctx context.Context, c *call) ([]byte, error) {
	return a.actions[c.action](ctx, c.scope, c.body)
}

func (a *appRunner) refuse(c *call, err error) (answer, []byte) {
	var set exceptions
	if m := models[c.action]; m != nil {
		set = m.errors
	}
	return jsonError(explain(err, set))
}

// jsonError writes an error. Code look-up differs between SDKs: botocore reads __type alone, the Go
// SDK prefers the header.
func jsonError(a answer) (answer, []byte) {
	body, err := encode(struct {
		Type    string `json:"__type"`
		Message string
	}{a.name, clip(a.msg)})
	if err != nil { // two strings: cannot happen
		body = []byte("{}")
	}
	return a, body
}

// elsewhere stands for the services of AWS that are not offered here. Only who can sign learns so.
type elsewhere struct{}

func (elsewhere) head(*http.Request) (string, error)           { return "", nil }
func (elsewhere) serve(context.Context, *call) ([]byte, error) { return nil, errWrongService }
func (elsewhere) refuse(_ *call, err error) (answer, []byte)   { return jsonError(explain(err, 0)) }
