package api

import (
	"context"
	"strconv"

	"apron"
	"apron/control"
)

func (a *appRunner) createObservabilityConfiguration(ctx context.Context, scope apron.Scope, in *CreateObservabilityConfigurationRequest) (*CreateObservabilityConfigurationResponse, error) {
	n := control.NewObservabilityConfiguration{Name: in.ObservabilityConfigurationName, Tags: rootTags(in.Tags)}
	if in.TraceConfiguration != nil {
		n.Vendor = in.TraceConfiguration.Vendor
	}
	c, err := a.control.CreateObservabilityConfiguration(ctx, scope, n)
	if err != nil {
		return nil, err
	}
	return &CreateObservabilityConfigurationResponse{ObservabilityConfiguration: wireObservability(c)}, nil
}

func (a *appRunner) describeObservabilityConfiguration(ctx context.Context, scope apron.Scope, in *DescribeObservabilityConfigurationRequest) (*DescribeObservabilityConfigurationResponse, error) {
	c, err := a.control.ObservabilityConfiguration(ctx, scope, in.ObservabilityConfigurationArn)
	if err != nil {
		return nil, err
	}
	return &DescribeObservabilityConfigurationResponse{ObservabilityConfiguration: wireObservability(c)}, nil
}

func (a *appRunner) listObservabilityConfigurations(ctx context.Context, scope apron.Scope, in *ListObservabilityConfigurationsRequest) (*ListObservabilityConfigurationsResponse, error) {
	name, latest := value(in.ObservabilityConfigurationName), or(in.LatestOnly, true)
	list := listing{action: "ListObservabilityConfigurations", scope: scope, filter: strconv.FormatBool(latest) + "/" + name}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	configs, after, err := a.control.ObservabilityConfigurations(ctx, scope, name, latest, page)
	if err != nil {
		return nil, err
	}
	return &ListObservabilityConfigurationsResponse{
		ObservabilityConfigurationSummaryList: each(configs, wireObservabilitySummary), NextToken: list.next(after),
	}, nil
}

func (a *appRunner) deleteObservabilityConfiguration(ctx context.Context, scope apron.Scope, in *DeleteObservabilityConfigurationRequest) (*DeleteObservabilityConfigurationResponse, error) {
	c, err := a.control.DeleteObservabilityConfiguration(ctx, scope, in.ObservabilityConfigurationArn)
	if err != nil {
		return nil, err
	}
	return &DeleteObservabilityConfigurationResponse{ObservabilityConfiguration: wireObservability(c)}, nil
}

func wireObservability(c apron.ObservabilityConfiguration) ObservabilityConfiguration {
	out := ObservabilityConfiguration{
		ObservabilityConfigurationArn: optional(c.ARN.String()), ObservabilityConfigurationName: optional(c.ARN.Name),
		ObservabilityConfigurationRevision: &c.ARN.Revision, Latest: &c.Latest, Status: activity(c.Active()),
		CreatedAt: timestamp(c.CreatedAt), DeletedAt: timestamp(c.DeletedAt),
	}
	if c.Vendor != "" {
		out.TraceConfiguration = &TraceConfiguration{Vendor: c.Vendor}
	}
	return out
}

func wireObservabilitySummary(c apron.ObservabilityConfiguration) ObservabilityConfigurationSummary {
	return ObservabilityConfigurationSummary{
		ObservabilityConfigurationArn: optional(c.ARN.String()), ObservabilityConfigurationName: optional(c.ARN.Name),
		ObservabilityConfigurationRevision: &c.ARN.Revision,
	}
}

// activity returns the status of an observability configuration or a VPC connector: in upper case,
// which auto scaling configurations do not have theirs in.
func activity(active bool) *string {
	if active {
		return optional("ACTIVE")
	}
	return optional("INACTIVE")
}
