package api

import (
	"context"
	"fmt"
	"reflect"

	"apron"
)

// action carries out one action for a scope: body is the request's JSON, the result the answer's.
type action func(ctx context.Context, scope apron.Scope, body []byte) ([]byte, error)

// table names the function behind each action of the model.
func (a *appRunner) table() map[string]action {
	return map[string]action{
		"AssociateCustomDomain":                   handle(a.associateCustomDomain),
		"CreateAutoScalingConfiguration":          handle(a.createAutoScalingConfiguration),
		"CreateConnection":                        handle(a.createConnection),
		"CreateObservabilityConfiguration":        handle(a.createObservabilityConfiguration),
		"CreateService":                           handle(a.createService),
		"CreateVpcConnector":                      handle(a.createVPCConnector),
		"CreateVpcIngressConnection":              handle(a.createVPCIngressConnection),
		"DeleteAutoScalingConfiguration":          handle(a.deleteAutoScalingConfiguration),
		"DeleteConnection":                        handle(a.deleteConnection),
		"DeleteObservabilityConfiguration":        handle(a.deleteObservabilityConfiguration),
		"DeleteService":                           handle(a.deleteService),
		"DeleteVpcConnector":                      handle(a.deleteVPCConnector),
		"DeleteVpcIngressConnection":              handle(a.deleteVPCIngressConnection),
		"DescribeAutoScalingConfiguration":        handle(a.describeAutoScalingConfiguration),
		"DescribeCustomDomains":                   handle(a.describeCustomDomains),
		"DescribeObservabilityConfiguration":      handle(a.describeObservabilityConfiguration),
		"DescribeService":                         handle(a.describeService),
		"DescribeVpcConnector":                    handle(a.describeVPCConnector),
		"DescribeVpcIngressConnection":            handle(a.describeVPCIngressConnection),
		"DisassociateCustomDomain":                handle(a.disassociateCustomDomain),
		"ListAutoScalingConfigurations":           handle(a.listAutoScalingConfigurations),
		"ListConnections":                         handle(a.listConnections),
		"ListObservabilityConfigurations":         handle(a.listObservabilityConfigurations),
		"ListOperations":                          handle(a.listOperations),
		"ListServices":                            handle(a.listServices),
		"ListServicesForAutoScalingConfiguration": handle(a.listServicesForAutoScalingConfiguration),
		"ListTagsForResource":                     handle(a.listTagsForResource),
		"ListVpcConnectors":                       handle(a.listVPCConnectors),
		"ListVpcIngressConnections":               handle(a.listVPCIngressConnections),
		"PauseService":                            handle(a.pauseService),
		"ResumeService":                           handle(a.resumeService),
		"StartDeployment":                         handle(a.startDeployment),
		"TagResource":                             handle(a.tagResource),
		"UntagResource":                           handle(a.untagResource),
		"UpdateDefaultAutoScalingConfiguration":   handle(a.updateDefaultAutoScalingConfiguration),
		"UpdateService":                           handle(a.updateService),
		"UpdateVpcIngressConnection":              handle(a.updateVPCIngressConnection),
	}
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
