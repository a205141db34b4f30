package api

import (
	"context"

	"apron"
	"apron/control"
)

func (a *appRunner) createVPCIngressConnection(ctx context.Context, scope apron.Scope, in *CreateVpcIngressConnectionRequest) (*CreateVpcIngressConnectionResponse, error) {
	v, err := a.control.CreateVPCIngressConnection(ctx, scope, control.NewVPCIngressConnection{
		Name: in.VpcIngressConnectionName, ServiceARN: in.ServiceArn, Tags: rootTags(in.Tags),
		VPCID: value(in.IngressVpcConfiguration.VpcId), VPCEndpointID: value(in.IngressVpcConfiguration.VpcEndpointId),
	})
	if err != nil {
		return nil, err
	}
	return &CreateVpcIngressConnectionResponse{VpcIngressConnection: wireVPCIngress(v)}, nil
}

func (a *appRunner) describeVPCIngressConnection(ctx context.Context, scope apron.Scope, in *DescribeVpcIngressConnectionRequest) (*DescribeVpcIngressConnectionResponse, error) {
	v, err := a.control.VPCIngressConnection(ctx, scope, in.VpcIngressConnectionArn)
	if err != nil {
		return nil, err
	}
	return &DescribeVpcIngressConnectionResponse{VpcIngressConnection: wireVPCIngress(v)}, nil
}

func (a *appRunner) listVPCIngressConnections(ctx context.Context, scope apron.Scope, in *ListVpcIngressConnectionsRequest) (*ListVpcIngressConnectionsResponse, error) {
	var filter control.IngressFilter
	if in.Filter != nil {
		filter = control.IngressFilter{ServiceARN: value(in.Filter.ServiceArn), VPCEndpointID: value(in.Filter.VpcEndpointId)}
	}
	list := listing{action: "ListVpcIngressConnections", scope: scope, filter: filter.ServiceARN + "\x00" + filter.VPCEndpointID}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	connections, after, err := a.control.VPCIngressConnections(ctx, scope, filter, page)
	if err != nil {
		return nil, err
	}
	return &ListVpcIngressConnectionsResponse{
		VpcIngressConnectionSummaryList: each(connections, wireVPCIngressSummary), NextToken: list.next(after),
	}, nil
}

func (a *appRunner) updateVPCIngressConnection(ctx context.Context, scope apron.Scope, in *UpdateVpcIngressConnectionRequest) (*UpdateVpcIngressConnectionResponse, error) {
	to := in.IngressVpcConfiguration
	v, err := a.control.UpdateVPCIngressConnection(ctx, scope, in.VpcIngressConnectionArn, value(to.VpcId), value(to.VpcEndpointId))
	if err != nil {
		return nil, err
	}
	return &UpdateVpcIngressConnectionResponse{VpcIngressConnection: wireVPCIngress(v)}, nil
}

func (a *appRunner) deleteVPCIngressConnection(ctx context.Context, scope apron.Scope, in *DeleteVpcIngressConnectionRequest) (*DeleteVpcIngressConnectionResponse, error) {
	v, err := a.control.DeleteVPCIngressConnection(ctx, scope, in.VpcIngressConnectionArn)
	if err != nil {
		return nil, err
	}
	return &DeleteVpcIngressConnectionResponse{VpcIngressConnection: wireVPCIngress(v)}, nil
}

func wireVPCIngress(v apron.VPCIngressConnection) VpcIngressConnection {
	return VpcIngressConnection{
		VpcIngressConnectionArn: optional(v.ARN.String()), VpcIngressConnectionName: optional(v.ARN.Name),
		ServiceArn: optional(v.Service.String()), Status: optional(string(v.Status)), AccountId: optional(v.ARN.Scope.Account),
		DomainName:              optional(v.Host),
		IngressVpcConfiguration: &IngressVpcConfiguration{VpcId: optional(v.VPCID), VpcEndpointId: optional(v.VPCEndpointID)},
		CreatedAt:               timestamp(v.CreatedAt), DeletedAt: timestamp(v.DeletedAt),
	}
}

func wireVPCIngressSummary(v apron.VPCIngressConnection) VpcIngressConnectionSummary {
	return VpcIngressConnectionSummary{VpcIngressConnectionArn: optional(v.ARN.String()), ServiceArn: optional(v.Service.String())}
}
