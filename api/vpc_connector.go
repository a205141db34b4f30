package api

import (
	"context"

	"apron"
	"apron/control"
)

func (a *appRunner) createVPCConnector(ctx context.Context, scope apron.Scope, in *CreateVpcConnectorRequest) (*CreateVpcConnectorResponse, error) {
	c, err := a.control.CreateVPCConnector(ctx, scope, control.NewVPCConnector{
		Name: in.VpcConnectorName, Subnets: in.Subnets, SecurityGroups: in.SecurityGroups, Tags: rootTags(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &CreateVpcConnectorResponse{VpcConnector: wireVPCConnector(c)}, nil
}

func (a *appRunner) describeVPCConnector(ctx context.Context, scope apron.Scope, in *DescribeVpcConnectorRequest) (*DescribeVpcConnectorResponse, error) {
	c, err := a.control.VPCConnector(ctx, scope, in.VpcConnectorArn)
	if err != nil {
		return nil, err
	}
	return &DescribeVpcConnectorResponse{VpcConnector: wireVPCConnector(c)}, nil
}

func (a *appRunner) listVPCConnectors(ctx context.Context, scope apron.Scope, in *ListVpcConnectorsRequest) (*ListVpcConnectorsResponse, error) {
	list := listing{action: "ListVpcConnectors", scope: scope}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	connectors, after, err := a.control.VPCConnectors(ctx, scope, page)
	if err != nil {
		return nil, err
	}
	return &ListVpcConnectorsResponse{VpcConnectors: each(connectors, wireVPCConnector), NextToken: list.next(after)}, nil
}

func (a *appRunner) deleteVPCConnector(ctx context.Context, scope apron.Scope, in *DeleteVpcConnectorRequest) (*DeleteVpcConnectorResponse, error) {
	c, err := a.control.DeleteVPCConnector(ctx, scope, in.VpcConnectorArn)
	if err != nil {
		return nil, err
	}
	return &DeleteVpcConnectorResponse{VpcConnector: wireVPCConnector(c)}, nil
}

func wireVPCConnector(c apron.VPCConnector) VpcConnector {
	return VpcConnector{
		VpcConnectorName: optional(c.ARN.Name), VpcConnectorArn: optional(c.ARN.String()), VpcConnectorRevision: &c.ARN.Revision,
		Subnets: c.Subnets, SecurityGroups: c.SecurityGroups, Status: activity(c.Active()),
		CreatedAt: timestamp(c.CreatedAt), DeletedAt: timestamp(c.DeletedAt),
	}
}
