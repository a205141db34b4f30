package api

import (
	"context"

	"apron"
)

func (h *Handler) listOperations(ctx context.Context, scope apron.Scope, in *ListOperationsRequest) (*ListOperationsResponse, error) {
	list := listing{action: "ListOperations", scope: scope, filter: in.ServiceArn}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	operations, after, err := h.cfg.Control.Operations(ctx, scope, in.ServiceArn, page)
	if err != nil {
		return nil, err
	}
	// Optional in the model, but clients range over it: never nil.
	out := &ListOperationsResponse{OperationSummaryList: []OperationSummary{}, NextToken: list.next(after)}
	for _, op := range operations {
		out.OperationSummaryList = append(out.OperationSummaryList, wireOperation(op, in.ServiceArn))
	}
	return out, nil
}

// wireOperation converts an operation on the service arn names. EndedAt is absent while it runs:
// some clients take its absence for "in progress".
func wireOperation(op apron.Operation, arn string) OperationSummary {
	return OperationSummary{
		Id: optional(string(op.ID)), Type: optional(string(op.Type)), Status: optional(string(op.Status)),
		TargetArn: &arn, StartedAt: timestamp(op.StartedAt), EndedAt: timestamp(op.EndedAt), UpdatedAt: timestamp(op.UpdatedAt),
	}
}
