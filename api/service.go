package api

import (
	"context"

	"apron"
)

func (a *appRunner) createService(ctx context.Context, scope apron.Scope, in *CreateServiceRequest) (*CreateServiceResponse, error) {
	n, err := newService(scope, in)
	if err != nil {
		return nil, err
	}
	if err := check(scope, n.Config); err != nil {
		return nil, err
	}
	view, op, err := a.control.CreateService(ctx, scope, n)
	if err != nil {
		return nil, err
	}
	return &CreateServiceResponse{Service: wireService(view), OperationId: string(op)}, nil
}

func (a *appRunner) describeService(ctx context.Context, scope apron.Scope, in *DescribeServiceRequest) (*DescribeServiceResponse, error) {
	view, err := a.control.Service(ctx, scope, in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &DescribeServiceResponse{Service: wireService(view)}, nil
}

func (a *appRunner) listServices(ctx context.Context, scope apron.Scope, in *ListServicesRequest) (*ListServicesResponse, error) {
	list := listing{action: "ListServices", scope: scope}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	services, after, err := a.control.Services(ctx, scope, page)
	if err != nil {
		return nil, err
	}
	return &ListServicesResponse{ServiceSummaryList: each(services, wireServiceSummary), NextToken: list.next(after)}, nil
}

func (a *appRunner) updateService(ctx context.Context, scope apron.Scope, in *UpdateServiceRequest) (*UpdateServiceResponse, error) {
	patch, err := servicePatch(in)
	if err != nil {
		return nil, err
	}
	checked := func(merged apron.ServiceConfiguration) error { return check(scope, merged) }
	view, op, err := a.control.UpdateService(ctx, scope, in.ServiceArn, patch, checked)
	if err != nil {
		return nil, err
	}
	return &UpdateServiceResponse{Service: wireService(view), OperationId: string(op)}, nil
}

func (a *appRunner) deleteService(ctx context.Context, scope apron.Scope, in *DeleteServiceRequest) (*DeleteServiceResponse, error) {
	view, op, err := a.control.DeleteService(ctx, scope, in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &DeleteServiceResponse{Service: wireService(view), OperationId: string(op)}, nil
}

// pauseService has no OperationId for a service that is paused already: clients take its absence
// for "nothing to wait for".
func (a *appRunner) pauseService(ctx context.Context, scope apron.Scope, in *PauseServiceRequest) (*PauseServiceResponse, error) {
	view, op, err := a.control.PauseService(ctx, scope, in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &PauseServiceResponse{Service: wireService(view), OperationId: optional(string(op))}, nil
}

// resumeService has no OperationId for a service that is running already.
func (a *appRunner) resumeService(ctx context.Context, scope apron.Scope, in *ResumeServiceRequest) (*ResumeServiceResponse, error) {
	view, op, err := a.control.ResumeService(ctx, scope, in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &ResumeServiceResponse{Service: wireService(view), OperationId: optional(string(op))}, nil
}

func (a *appRunner) startDeployment(ctx context.Context, scope apron.Scope, in *StartDeploymentRequest) (*StartDeploymentResponse, error) {
	op, err := a.control.StartDeployment(ctx, scope, in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &StartDeploymentResponse{OperationId: string(op)}, nil
}
