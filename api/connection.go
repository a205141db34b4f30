package api

import (
	"context"

	"apron"
	"apron/control"
)

func (a *appRunner) createConnection(ctx context.Context, scope apron.Scope, in *CreateConnectionRequest) (*CreateConnectionResponse, error) {
	c, err := a.control.CreateConnection(ctx, scope, control.NewConnection{
		Name: in.ConnectionName, Provider: in.ProviderType, Tags: rootTags(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &CreateConnectionResponse{Connection: Connection(wireConnection(c))}, nil
}

func (a *appRunner) listConnections(ctx context.Context, scope apron.Scope, in *ListConnectionsRequest) (*ListConnectionsResponse, error) {
	name := value(in.ConnectionName)
	list := listing{action: "ListConnections", scope: scope, filter: name}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	connections, after, err := a.control.Connections(ctx, scope, name, page)
	if err != nil {
		return nil, err
	}
	return &ListConnectionsResponse{ConnectionSummaryList: each(connections, wireConnection), NextToken: list.next(after)}, nil
}

func (a *appRunner) deleteConnection(ctx context.Context, scope apron.Scope, in *DeleteConnectionRequest) (*DeleteConnectionResponse, error) {
	c, err := a.control.DeleteConnection(ctx, scope, in.ConnectionArn)
	if err != nil {
		return nil, err
	}
	out := Connection(wireConnection(c))
	return &DeleteConnectionResponse{Connection: &out}, nil
}

// wireConnection also makes the Connection of the model, which has the same members.
func wireConnection(c apron.Connection) ConnectionSummary {
	return ConnectionSummary{
		ConnectionName: optional(c.ARN.Name), ConnectionArn: optional(c.ARN.String()),
		ProviderType: optional(c.Provider), Status: optional(string(c.Status)), CreatedAt: timestamp(c.CreatedAt),
	}
}
