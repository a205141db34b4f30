package api

import (
	"context"

	"apron"
)

func (h *Handler) createService(ctx context.Context, scope apron.Scope, in *CreateServiceRequest) (*CreateServiceResponse, error) {
	n, err := newService(scope, in)
	if err != nil {
		return nil, err
	}
	if err := check(scope, n); err != nil {
		return nil, err
	}
	view, op, err := h.cfg.Control.CreateService(ctx, scope, n)
	if err != nil {
		return nil, err
	}
	return &CreateServiceResponse{Service: wireService(view), OperationId: string(op)}, nil
}

func (h *Handler) describeService(ctx context.Context, scope apron.Scope, in *DescribeServiceRequest) (*DescribeServiceResponse, error) {
	view, err := h.cfg.Control.Service(ctx, scope, in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &DescribeServiceResponse{Service: wireService(view)}, nil
}

func (h *Handler) listServices(ctx context.Context, scope apron.Scope, in *ListServicesRequest) (*ListServicesResponse, error) {
	list := listing{action: "ListServices", scope: scope}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	services, after, err := h.cfg.Control.Services(ctx, scope, page)
	if err != nil {
		return nil, err
	}
	out := &ListServicesResponse{NextToken: list.next(after)}
	for _, s := range services {
		out.ServiceSummaryList = append(out.ServiceSummaryList, wireServiceSummary(s))
	}
	return out, nil
}

func (h *Handler) deleteService(ctx context.Context, scope apron.Scope, in *DeleteServiceRequest) (*DeleteServiceResponse, error) {
	view, op, err := h.cfg.Control.DeleteService(ctx, scope, in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &DeleteServiceResponse{Service: wireService(view), OperationId: string(op)}, nil
}
