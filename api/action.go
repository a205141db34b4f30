package api

import (
	"context"
	"fmt"
	"reflect"

	"apron"
	"apron/control"
)

// services is what actions need of package control.
type services interface {
	CreateService(ctx context.Context, scope apron.Scope, in control.NewService) (control.ServiceView, apron.OperationID, error)
	Service(ctx context.Context, scope apron.Scope, arn string) (control.ServiceView, error)
	Services(ctx context.Context, scope apron.Scope, page control.Page) ([]apron.Service, string, error)
	DeleteService(ctx context.Context, scope apron.Scope, arn string) (control.ServiceView, apron.OperationID, error)
	Operations(ctx context.Context, scope apron.Scope, arn string, page control.Page) ([]apron.Operation, string, error)
}

var _ services = (*control.Control)(nil)

// action carries out one action for a scope: body is the request's JSON, the result the answer's.
type action func(ctx context.Context, scope apron.Scope, body []byte) ([]byte, error)

// table names the function behind each action. An action of the model that is missing here checks
// its input like every other and then says that it is not available.
func (h *Handler) table() map[string]action {
	t := map[string]action{
		"CreateService":   handle(h.createService),
		"DeleteService":   handle(h.deleteService),
		"DescribeService": handle(h.describeService),
		"ListOperations":  handle(h.listOperations),
		"ListServices":    handle(h.listServices),
	}
	for name, m := range models {
		if t[name] == nil {
			t[name] = unavailable(m)
		}
	}
	return t
}

// handle makes an action of a function on wire structs. In must be the Go struct of an action's
// input: its model is found by that type. f gets input that satisfies every constraint in it.
func handle[In, Out any](f func(ctx context.Context, scope apron.Scope, in *In) (*Out, error)) action {
	m := modelOf(reflect.TypeFor[In]())
	return func(ctx context.Context, scope apron.Scope, body []byte) ([]byte, error) {
		in := new(In)
		if err := decode(body, m.input, reflect.ValueOf(in).Elem()); err != nil {
			return nil, err
		}
		out, err := f(ctx, scope, in)
		if err != nil {
			return nil, err
		}
		b, err := encode(out)
		if err != nil {
			return nil, fmt.Errorf("encode answer of %s: %w", m.name, err)
		}
		return b, nil
	}
}

// modelOf finds the action with the given input. Not to find it is a bug in the table above, seen
// as soon as a Handler is made.
func modelOf(in reflect.Type) *model {
	for _, m := range models {
		if m.in == in {
			return m
		}
	}
	panic("api: " + in.String() + " is not the input of an action")
}

func unavailable(m *model) action {
	return func(_ context.Context, _ apron.Scope, body []byte) ([]byte, error) {
		if err := decode(body, m.input, reflect.New(m.in).Elem()); err != nil {
			return nil, err
		}
		return nil, apron.Faultf(apron.Unavailable, "%s is not available yet in this version of Apron.", m.name)
	}
}
