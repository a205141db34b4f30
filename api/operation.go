package api

import (
	"context"

	"apron"
)

func (a *appRunner) listOperations(ctx context.Context, scope apron.Scope, in *ListOperationsRequest) (*ListOperationsResponse, error) {
	list := listing{action: "ListOperations", scope: scope, filter: in.ServiceArn}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	operations, after, err := a.control.Operations(ctx, scope, in.ServiceArn, page)
	if err != nil {
		return nil, err
	}
	// The list is optional in the model, but clients range over it: never nil.
	return &ListOperationsResponse{
		OperationSummaryList: each(operations, func(op apron.Operation) OperationSummary { return wireOperation(op, in.ServiceArn) }),
		NextToken:            list.next(after),
	}, nil
}

// wireOperation converts an operation on the service arn names. EndedAt is absent while it runs:
// some clients take its absence for "in progress".
func wireOperation(op apron.Operation, arn string) OperationSummary {
	return OperationSummary{
		Id: optional(string(op.ID)), Type: optional(string(op.Type)), Status: optional(string(op.Status)),
		TargetArn: &arn, StartedAt: timestamp(op.StartedAt), EndedAt: timestamp(op.EndedAt), UpdatedAt: timestamp(op.UpdatedAt),
	}
}
