package api_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// goWalkVersion names the client of goWalk.
const goWalkVersion = "the AWS SDK for Go, service/apprunner 1.40.2. It leaves out false booleans"

// goWalk goes through all actions with the AWS SDK for Go. That it decodes each answer is most of the
// check: a wrong JSON type is an error (W6).
func goWalk(t *testing.T, url string) {
	who, err := sts.New(sts.Options{
		Region: region, BaseEndpoint: aws.String(url), Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""),
	}).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || *who.Account != account {
		t.Errorf("who: %v", err)
	}
	w := &walker{t, sdk(url)}
	w.configurations()
	arn := w.service()
	w.tags(arn)
	w.network(arn)
	w.cleanUp(arn)
}

type walker struct {
	*testing.T
	*apprunner.Client
}

// must calls an action that has to succeed.
func must[In, Out any](w *walker, f func(ctx context.Context, in *In, opts ...func(*apprunner.Options)) (*Out, error), in *In) *Out {
	w.Helper()
	out, err := f(w.Context(), in)
	if err != nil {
		w.Fatal(err)
	}
	return out
}

func (w *walker) configurations() {
	for range 2 {
		must(w, w.CreateAutoScalingConfiguration, &apprunner.CreateAutoScalingConfigurationInput{AutoScalingConfigurationName: aws.String("high")})
	}
	asc := must(w, w.DescribeAutoScalingConfiguration, &apprunner.DescribeAutoScalingConfigurationInput{AutoScalingConfigurationArn: aws.String(scalingPrefix + "high")})
	if c := asc.AutoScalingConfiguration; !*c.Latest || *c.AutoScalingConfigurationRevision != 2 || *c.MaxSize != 25 || *c.HasAssociatedService {
		w.Errorf("%+v", c)
	}
	must(w, w.UpdateDefaultAutoScalingConfiguration, &apprunner.UpdateDefaultAutoScalingConfigurationInput{AutoScalingConfigurationArn: aws.String(scalingPrefix + "high/1")})
	all := must(w, w.ListAutoScalingConfigurations, &apprunner.ListAutoScalingConfigurationsInput{LatestOnly: false}) // sent as absent
	if len(all.AutoScalingConfigurationSummaryList) != 3 {
		w.Errorf("%d configurations", len(all.AutoScalingConfigurationSummaryList))
	}
	must(w, w.UpdateDefaultAutoScalingConfiguration, &apprunner.UpdateDefaultAutoScalingConfigurationInput{AutoScalingConfigurationArn: aws.String(defaultScaling)})
	tracing := must(w, w.CreateObservabilityConfiguration, &apprunner.CreateObservabilityConfigurationInput{
		ObservabilityConfigurationName: aws.String("tracing"), TraceConfiguration: &types.TraceConfiguration{Vendor: types.TracingVendorAwsxray},
	}).ObservabilityConfiguration
	must(w, w.DescribeObservabilityConfiguration, &apprunner.DescribeObservabilityConfigurationInput{ObservabilityConfigurationArn: tracing.ObservabilityConfigurationArn})
	must(w, w.ListObservabilityConfigurations, &apprunner.ListObservabilityConfigurationsInput{ObservabilityConfigurationName: aws.String("tracing")})
	must(w, w.CreateConnection, &apprunner.CreateConnectionInput{ConnectionName: aws.String("bitbucket"), ProviderType: types.ProviderTypeBitbucket})
	connector := must(w, w.CreateVpcConnector, &apprunner.CreateVpcConnectorInput{
		VpcConnectorName: aws.String("connector"), Subnets: []string{"subnet-1"}, SecurityGroups: []string{}, Tags: []types.Tag{},
	})
	must(w, w.DescribeVpcConnector, &apprunner.DescribeVpcConnectorInput{VpcConnectorArn: connector.VpcConnector.VpcConnectorArn})
}

const scalingPrefix = "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/"

func (w *walker) service() string {
	created := must(w, w.CreateService, &apprunner.CreateServiceInput{
		ServiceName: aws.String("web-app"),
		SourceConfiguration: &types.SourceConfiguration{
			ImageRepository: &types.ImageRepository{
				ImageIdentifier: aws.String("127.0.0.1:4080/web:v1"), ImageRepositoryType: types.ImageRepositoryTypeEcr,
				ImageConfiguration: &types.ImageConfiguration{Port: aws.String("8080"), RuntimeEnvironmentVariables: map[string]string{}},
			},
			AuthenticationConfiguration: &types.AuthenticationConfiguration{AccessRoleArn: aws.String("arn:aws:iam::123456789012:role/ecr")},
			AutoDeploymentsEnabled:      aws.Bool(true),
		},
		InstanceConfiguration:      &types.InstanceConfiguration{Cpu: aws.String("1024"), Memory: aws.String("2048")},
		NetworkConfiguration:       &types.NetworkConfiguration{IngressConfiguration: &types.IngressConfiguration{IsPubliclyAccessible: false}},
		ObservabilityConfiguration: &types.ServiceObservabilityConfiguration{ObservabilityEnabled: false},
		Tags:                       []types.Tag{},
	})
	arn := *created.Service.ServiceArn
	described := must(w, w.DescribeService, &apprunner.DescribeServiceInput{ServiceArn: &arn}).Service
	if described.Status != types.ServiceStatusRunning || described.NetworkConfiguration.IngressConfiguration.IsPubliclyAccessible {
		w.Errorf("%+v", described)
	}
	must(w, w.ListServices, &apprunner.ListServicesInput{})
	must(w, w.ListServicesForAutoScalingConfiguration, &apprunner.ListServicesForAutoScalingConfigurationInput{AutoScalingConfigurationArn: aws.String(defaultScaling)})
	must(w, w.UpdateService, &apprunner.UpdateServiceInput{
		ServiceArn: &arn, SourceConfiguration: described.SourceConfiguration, HealthCheckConfiguration: described.HealthCheckConfiguration,
		NetworkConfiguration: &types.NetworkConfiguration{
			IngressConfiguration: &types.IngressConfiguration{}, EgressConfiguration: &types.EgressConfiguration{EgressType: types.EgressTypeDefault},
		},
	})
	must(w, w.StartDeployment, &apprunner.StartDeploymentInput{ServiceArn: &arn})
	must(w, w.PauseService, &apprunner.PauseServiceInput{ServiceArn: &arn})
	must(w, w.ResumeService, &apprunner.ResumeServiceInput{ServiceArn: &arn})
	operations := must(w, w.ListOperations, &apprunner.ListOperationsInput{ServiceArn: &arn})
	if list := operations.OperationSummaryList; len(list) != 5 || list[0].Type != types.OperationTypeResumeService || list[0].EndedAt == nil {
		w.Errorf("%+v", list)
	}
	return arn
}

func (w *walker) tags(arn string) {
	must(w, w.TagResource, &apprunner.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("")}, {Key: aws.String("b")}}})
	must(w, w.UntagResource, &apprunner.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"a"}})
	tags := must(w, w.ListTagsForResource, &apprunner.ListTagsForResourceInput{ResourceArn: &arn}).Tags
	if len(tags) != 1 || *tags[0].Key != "b" || *tags[0].Value != "" {
		w.Errorf("%+v", tags)
	}
}

func (w *walker) network(arn string) {
	vpc := &types.IngressVpcConfiguration{VpcId: aws.String("vpc-1"), VpcEndpointId: aws.String("vpce-1")}
	ingress := must(w, w.CreateVpcIngressConnection, &apprunner.CreateVpcIngressConnectionInput{
		ServiceArn: &arn, VpcIngressConnectionName: aws.String("ingress"), IngressVpcConfiguration: vpc,
	}).VpcIngressConnection.VpcIngressConnectionArn
	must(w, w.UpdateVpcIngressConnection, &apprunner.UpdateVpcIngressConnectionInput{VpcIngressConnectionArn: ingress, IngressVpcConfiguration: vpc})
	described := must(w, w.DescribeVpcIngressConnection, &apprunner.DescribeVpcIngressConnectionInput{VpcIngressConnectionArn: ingress})
	if v := described.VpcIngressConnection; v.Status != types.VpcIngressConnectionStatusAvailable || *v.DomainName == "" || *v.AccountId != account {
		w.Errorf("%+v", v)
	}
	must(w, w.AssociateCustomDomain, &apprunner.AssociateCustomDomainInput{ServiceArn: &arn, DomainName: aws.String("shop.test")})
	domains := must(w, w.DescribeCustomDomains, &apprunner.DescribeCustomDomainsInput{ServiceArn: &arn})
	if d := domains.CustomDomains[0]; d.Status != "pending_certificate_dns_validation" || len(d.CertificateValidationRecords) != 3 || len(domains.VpcDNSTargets) != 1 {
		w.Errorf("%+v", domains)
	}
	must(w, w.DisassociateCustomDomain, &apprunner.DisassociateCustomDomainInput{ServiceArn: &arn, DomainName: aws.String("shop.test")})
}

// cleanUp finds what is there by the lists, as inventory tools do, and deletes it.
func (w *walker) cleanUp(arn string) {
	for _, v := range must(w, w.ListVpcIngressConnections, &apprunner.ListVpcIngressConnectionsInput{
		Filter: &types.ListVpcIngressConnectionsFilter{ServiceArn: &arn},
	}).VpcIngressConnectionSummaryList {
		must(w, w.DeleteVpcIngressConnection, &apprunner.DeleteVpcIngressConnectionInput{VpcIngressConnectionArn: v.VpcIngressConnectionArn})
	}
	must(w, w.DeleteService, &apprunner.DeleteServiceInput{ServiceArn: &arn})
	for _, v := range must(w, w.ListVpcConnectors, &apprunner.ListVpcConnectorsInput{}).VpcConnectors {
		must(w, w.DeleteVpcConnector, &apprunner.DeleteVpcConnectorInput{VpcConnectorArn: v.VpcConnectorArn})
	}
	for _, c := range must(w, w.ListConnections, &apprunner.ListConnectionsInput{}).ConnectionSummaryList {
		must(w, w.DeleteConnection, &apprunner.DeleteConnectionInput{ConnectionArn: c.ConnectionArn})
	}
	for _, o := range must(w, w.ListObservabilityConfigurations, &apprunner.ListObservabilityConfigurationsInput{}).ObservabilityConfigurationSummaryList {
		if *o.ObservabilityConfigurationName != "DefaultConfiguration" {
			must(w, w.DeleteObservabilityConfiguration, &apprunner.DeleteObservabilityConfigurationInput{ObservabilityConfigurationArn: o.ObservabilityConfigurationArn})
		}
	}
	for _, arn := range []string{"high/1", "high"} {
		must(w, w.DeleteAutoScalingConfiguration, &apprunner.DeleteAutoScalingConfigurationInput{AutoScalingConfigurationArn: aws.String(scalingPrefix + arn)})
	}
}
