package api

import (
	"context"
	"strconv"

	"apron"
	"apron/control"
)

func (a *appRunner) createAutoScalingConfiguration(ctx context.Context, scope apron.Scope, in *CreateAutoScalingConfigurationRequest) (*CreateAutoScalingConfigurationResponse, error) {
	c, err := a.control.CreateAutoScalingConfiguration(ctx, scope, control.NewAutoScalingConfiguration{
		Name: in.AutoScalingConfigurationName, Tags: rootTags(in.Tags),
		MaxConcurrency: value(in.MaxConcurrency), MinSize: value(in.MinSize), MaxSize: value(in.MaxSize),
	})
	if err != nil {
		return nil, err
	}
	return &CreateAutoScalingConfigurationResponse{AutoScalingConfiguration: wireAutoScaling(c)}, nil
}

func (a *appRunner) describeAutoScalingConfiguration(ctx context.Context, scope apron.Scope, in *DescribeAutoScalingConfigurationRequest) (*DescribeAutoScalingConfigurationResponse, error) {
	c, err := a.control.AutoScalingConfiguration(ctx, scope, in.AutoScalingConfigurationArn)
	if err != nil {
		return nil, err
	}
	return &DescribeAutoScalingConfigurationResponse{AutoScalingConfiguration: wireAutoScaling(c)}, nil
}

// listAutoScalingConfigurations tells an absent LatestOnly from a true one: the SDK for Go cannot
// send false, and absent also shows the default (see control).
func (a *appRunner) listAutoScalingConfigurations(ctx context.Context, scope apron.Scope, in *ListAutoScalingConfigurationsRequest) (*ListAutoScalingConfigurationsResponse, error) {
	latest := "absent"
	if in.LatestOnly != nil {
		latest = strconv.FormatBool(*in.LatestOnly)
	}
	name := value(in.AutoScalingConfigurationName)
	list := listing{action: "ListAutoScalingConfigurations", scope: scope, filter: latest + "/" + name}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	configs, after, err := a.control.AutoScalingConfigurations(ctx, scope, name, in.LatestOnly, page)
	if err != nil {
		return nil, err
	}
	return &ListAutoScalingConfigurationsResponse{
		AutoScalingConfigurationSummaryList: each(configs, wireAutoScalingSummary), NextToken: list.next(after),
	}, nil
}

// deleteAutoScalingConfiguration answers the deletion of all revisions with no more than the name's
// ARN, the name and the status: there is no one revision to show.
func (a *appRunner) deleteAutoScalingConfiguration(ctx context.Context, scope apron.Scope, in *DeleteAutoScalingConfigurationRequest) (*DeleteAutoScalingConfigurationResponse, error) {
	all := value(in.DeleteAllRevisions)
	c, err := a.control.DeleteAutoScalingConfiguration(ctx, scope, in.AutoScalingConfigurationArn, all)
	if err != nil {
		return nil, err
	}
	out := wireAutoScaling(c)
	if all {
		out = AutoScalingConfiguration{
			AutoScalingConfigurationArn:  out.AutoScalingConfigurationArn,
			AutoScalingConfigurationName: out.AutoScalingConfigurationName, Status: out.Status,
		}
	}
	return &DeleteAutoScalingConfigurationResponse{AutoScalingConfiguration: out}, nil
}

func (a *appRunner) listServicesForAutoScalingConfiguration(ctx context.Context, scope apron.Scope, in *ListServicesForAutoScalingConfigurationRequest) (*ListServicesForAutoScalingConfigurationResponse, error) {
	list := listing{action: "ListServicesForAutoScalingConfiguration", scope: scope, filter: in.AutoScalingConfigurationArn}
	page, err := list.page(in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	arns, after, err := a.control.ServicesForAutoScalingConfiguration(ctx, scope, in.AutoScalingConfigurationArn, page)
	if err != nil {
		return nil, err
	}
	return &ListServicesForAutoScalingConfigurationResponse{ServiceArnList: each(arns, apron.ARN.String), NextToken: list.next(after)}, nil
}

func (a *appRunner) updateDefaultAutoScalingConfiguration(ctx context.Context, scope apron.Scope, in *UpdateDefaultAutoScalingConfigurationRequest) (*UpdateDefaultAutoScalingConfigurationResponse, error) {
	c, err := a.control.UpdateDefaultAutoScalingConfiguration(ctx, scope, in.AutoScalingConfigurationArn)
	if err != nil {
		return nil, err
	}
	return &UpdateDefaultAutoScalingConfigurationResponse{AutoScalingConfiguration: wireAutoScaling(c)}, nil
}

func wireAutoScaling(c apron.AutoScalingConfiguration) AutoScalingConfiguration {
	s := wireAutoScalingSummary(c)
	return AutoScalingConfiguration{
		AutoScalingConfigurationArn: s.AutoScalingConfigurationArn, AutoScalingConfigurationName: s.AutoScalingConfigurationName,
		AutoScalingConfigurationRevision: s.AutoScalingConfigurationRevision, Latest: &c.Latest, Status: s.Status,
		MaxConcurrency: &c.MaxConcurrency, MinSize: &c.MinSize, MaxSize: &c.MaxSize,
		CreatedAt: s.CreatedAt, DeletedAt: timestamp(c.DeletedAt),
		HasAssociatedService: s.HasAssociatedService, IsDefault: s.IsDefault,
	}
}

// wireAutoScalingSummary writes the status in lower case, unlike every other enum but that of
// custom domains: Terraform waits for "active".
func wireAutoScalingSummary(c apron.AutoScalingConfiguration) AutoScalingConfigurationSummary {
	status := "active"
	if !c.Active() {
		status = "inactive"
	}
	return AutoScalingConfigurationSummary{
		AutoScalingConfigurationArn: optional(c.ARN.String()), AutoScalingConfigurationName: optional(c.ARN.Name),
		AutoScalingConfigurationRevision: &c.ARN.Revision, Status: &status, CreatedAt: timestamp(c.CreatedAt),
		HasAssociatedService: &c.InUse, IsDefault: &c.Default,
	}
}
