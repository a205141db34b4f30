package api_test

import (
	"strings"
	"testing"
	"time"

	"apron"
)

// TestC2RollbackShowsRunning: after an update that was rolled back a service is RUNNING again, and
// the operation says what happened.
func TestC2RollbackShowsRunning(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	f.ok(t, "UpdateService", serviceARN(arn, `"InstanceConfiguration":{"Memory":"4096"}`))
	f.end(t, arn, apron.ServiceRunning, apron.OperationFailed)
	f.ok(t, "DescribeService", serviceARN(arn)).is("Service.Status", "RUNNING")
	f.ok(t, "ListOperations", serviceARN(arn)).is("OperationSummaryList.0.Status", "FAILED")
}

func TestC3DeletedIsDescribable(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	f.ok(t, "DeleteService", serviceARN(arn))
	f.settle(t, arn, apron.ServiceDeleted)
	f.advance(time.Hour)
	f.ok(t, "DescribeService", serviceARN(arn)).is("Service.Status", "DELETED")
	f.ok(t, "ListServices", "{}").size("ServiceSummaryList", 0)
	f.ok(t, "ListOperations", serviceARN(arn)).is("OperationSummaryList.0.Type", "DELETE_SERVICE")
	f.fails(t, "DeleteService", serviceARN(missingARN), missing, missingARN) // C4
}

// TestC6InactiveIsDescribed has the two kinds of configuration of which a client takes INACTIVE for
// gone.
func TestC6InactiveIsDescribed(t *testing.T) {
	f := newFront(t)
	connector := `{"VpcConnectorArn":"` + f.ok(t, "CreateVpcConnector", `{"VpcConnectorName":"connector","Subnets":["subnet-1"]}`).
		text("VpcConnector.VpcConnectorArn") + `"}`
	f.ok(t, "DeleteVpcConnector", connector)
	f.ok(t, "DescribeVpcConnector", connector).is("VpcConnector.Status", "INACTIVE")
	f.fails(t, "DeleteVpcConnector", connector, missing, "vpcconnector/connector/1/")
	tracing := `{"ObservabilityConfigurationArn":"` + f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"tracing"}`).
		text("ObservabilityConfiguration.ObservabilityConfigurationArn") + `"}`
	f.ok(t, "DeleteObservabilityConfiguration", tracing)
	f.ok(t, "DescribeObservabilityConfiguration", tracing).is("ObservabilityConfiguration.Status", "INACTIVE")
	f.fails(t, "DeleteObservabilityConfiguration", tracing, missing, "observabilityconfiguration/tracing/1/")
}

func TestC9SecretForms(t *testing.T) {
	f := newFront(t)
	image := func(config string) string {
		return serviceRequest("web-app", `"InstanceConfiguration":{"InstanceRoleArn":"arn:aws:iam::123456789012:role/app"},"SourceConfiguration":{"ImageRepository":
			{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC","ImageConfiguration":`+config+`}}`)
	}
	const value = "arn:aws:secretsmanager:us-east-1:123456789012:secret:app-a1b2c3:field:AWSCURRENT:version"
	f.ok(t, "CreateService", image(`{"RuntimeEnvironmentSecrets":{"S":"`+value+`"}}`)).
		is("Service.SourceConfiguration.ImageRepository.ImageConfiguration.RuntimeEnvironmentSecrets.S", value)
	f.fails(t, "CreateService", image(`{"RuntimeEnvironmentVariables":{"AWSAPPRUNNER_X":"1"}}`), invalid, "AWSAPPRUNNER")
	f.fails(t, "CreateService", image(`{"RuntimeEnvironmentVariables":["A"]}`), "SerializationException", "") // C10
}

func TestP1WhatCopilotDereferences(t *testing.T) {
	f := newFront(t)
	s := f.ok(t, "DescribeService", serviceARN(f.create(t, "web-app"))).part("Service")
	for _, path := range []string{
		"SourceConfiguration.ImageRepository.ImageConfiguration.Port", "InstanceConfiguration.Cpu", "InstanceConfiguration.Memory",
		"CreatedAt", "UpdatedAt", "ServiceUrl", "ServiceId", "Status",
	} {
		if s.at(path) == nil {
			t.Errorf("%s is absent", path)
		}
	}
	if parts := strings.Split(s.text("ServiceArn"), "/"); len(parts) != 3 || parts[1] != "web-app" || parts[2] != s.text("ServiceId") { // P2
		t.Error(parts)
	}
}

func TestP4PauseAndResumeTwice(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	steps := []struct {
		action string
		status apron.ServiceStatus
	}{{"PauseService", apron.ServicePaused}, {"ResumeService", apron.ServiceRunning}}
	for _, s := range steps {
		first := f.ok(t, s.action, serviceARN(arn))
		first.is("Service.Status", "OPERATION_IN_PROGRESS")
		f.fails(t, s.action, serviceARN(arn), badState, "in the current state: OPERATION_IN_PROGRESS.")
		f.settle(t, arn, s.status)
		list := f.ok(t, "ListOperations", serviceARN(arn))
		list.is("OperationSummaryList.0.Id", first.text("OperationId"))
		list.is("OperationSummaryList.0.Status", "SUCCEEDED")
		again := f.ok(t, s.action, serviceARN(arn))
		again.is("Service.Status", string(s.status))
		again.is("OperationId", nil)
	}
}

func TestP5C7G1ListServicesByPages(t *testing.T) {
	f := newFront(t)
	for _, name := range []string{"web-one", "web-two", "web-three"} {
		f.advance(time.Second)
		f.create(t, name)
	}
	var names []string
	for token := ""; ; {
		page := f.ok(t, "ListServices", `{"MaxResults":1`+token+`}`)
		names = append(names, page.text("ServiceSummaryList.0.ServiceName"))
		if page.at("NextToken") == nil {
			break
		}
		token = `,"NextToken":"` + page.text("NextToken") + `"`
	}
	same(t, []string{"web-one", "web-two", "web-three"}, names)
}

func TestP6P7CustomDomainTexts(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	domain := serviceARN(arn, `"DomainName":"shop.test"`)
	f.fails(t, "DisassociateCustomDomain", domain, invalid, "No custom domain shop.test found for the provided service")
	f.ok(t, "AssociateCustomDomain", domain)
	f.fails(t, "AssociateCustomDomain", domain, invalid, "shop.test is already associated with")
	f.fails(t, "AssociateCustomDomain", serviceARN(arn, `"DomainName":"*.shop.test"`), invalid, "EnableWWWSubdomain")
	f.fails(t, "AssociateCustomDomain", serviceARN(arn, `"DomainName":"login*.shop.test","EnableWWWSubdomain":false`), invalid, "wildcard")
	f.ok(t, "AssociateCustomDomain", serviceARN(arn, `"DomainName":"*.shop.test","EnableWWWSubdomain":false`))
	f.ok(t, "PauseService", serviceARN(arn))
	f.fails(t, "DisassociateCustomDomain", domain, badState, "OPERATION_IN_PROGRESS")
	f.settle(t, arn, apron.ServicePaused)
	f.fails(t, "AssociateCustomDomain", serviceARN(arn, `"DomainName":"other.test"`), badState, "PAUSED")
}

func TestP8PartialAndWellKnownARNs(t *testing.T) {
	f := newFront(t)
	full := f.newScaling(t).text("AutoScalingConfigurationArn")
	f.newScaling(t)
	s := f.ok(t, "CreateService", serviceRequest("web-app",
		`"AutoScalingConfigurationArn":"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/high/1"`,
		`"ObservabilityConfiguration":{"ObservabilityEnabled":true,"ObservabilityConfigurationArn":"`+defaultObservability+`"}`)).part("Service")
	s.is("AutoScalingConfigurationSummary.AutoScalingConfigurationArn", full)
	s.is("ObservabilityConfiguration.ObservabilityConfigurationArn", defaultObservability)
	same(t, any([]any{s.text("ServiceArn")}), f.ok(t, "ListServicesForAutoScalingConfiguration", scalingARN(full)).at("ServiceArnList"))
	f.ok(t, "DescribeObservabilityConfiguration", `{"ObservabilityConfigurationArn":"`+defaultObservability+`"}`).
		is("ObservabilityConfiguration.TraceConfiguration.Vendor", "AWSXRAY")
}

func TestP9PrivateURL(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app", private)
	v := f.ok(t, "CreateVpcIngressConnection", serviceARN(arn,
		`"VpcIngressConnectionName":"ingress","IngressVpcConfiguration":{"VpcId":"vpc-1","VpcEndpointId":"vpce-1"}`))
	f.walk(t)
	found := f.ok(t, "ListVpcIngressConnections", `{"Filter":{"ServiceArn":"`+arn+`","VpcEndpointId":"vpce-1"}}`)
	found.is("VpcIngressConnectionSummaryList.0.VpcIngressConnectionArn", v.text("VpcIngressConnection.VpcIngressConnectionArn"))
	f.ok(t, "ListVpcIngressConnections", `{"Filter":{"VpcEndpointId":"vpce-2"}}`).size("VpcIngressConnectionSummaryList", 0)
	f.ok(t, "DescribeVpcIngressConnection", `{"VpcIngressConnectionArn":"`+v.text("VpcIngressConnection.VpcIngressConnectionArn")+`"}`).
		text("VpcIngressConnection.DomainName")
	f.fails(t, "DeleteService", serviceARN(arn), badState, "active VpcIngressConnections")
	f.fails(t, "CreateVpcIngressConnection", serviceARN(f.running(t, "web-two"),
		`"VpcIngressConnectionName":"other","IngressVpcConfiguration":{"VpcId":"vpc-1","VpcEndpointId":"vpce-1"}`), invalid, "publicly accessible")
	f.fails(t, "UpdateVpcIngressConnection", `{"VpcIngressConnectionArn":"`+v.text("VpcIngressConnection.VpcIngressConnectionArn")+
		`","IngressVpcConfiguration":{"VpcId":"vpc-1"}}`, invalid, "both")
}

func TestG3AnswersNameTheService(t *testing.T) {
	f := newFront(t)
	created := f.ok(t, "CreateService", serviceRequest("web-app", `"SourceConfiguration":{"AuthenticationConfiguration":{},
		"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC"}}`)) // G4
	f.settle(t, created.text("Service.ServiceArn"), apron.ServiceRunning)
	updated := f.ok(t, "UpdateService", serviceARN(created.text("Service.ServiceArn"), `"InstanceConfiguration":{"Memory":"4 GB"}`))
	for _, path := range []string{"Service.ServiceId", "Service.ServiceArn", "Service.ServiceUrl"} {
		same(t, created.text(path), updated.text(path))
	}
	if created.text("OperationId") == updated.text("OperationId") { // G6
		t.Error("the operations are the same")
	}
}

func TestO1NewestOperation(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	f.advance(time.Second)
	f.ok(t, "StartDeployment", serviceARN(arn))
	o := f.ok(t, "ListOperations", serviceARN(arn, `"MaxResults":1`))
	o.size("OperationSummaryList", 1)
	o.is("OperationSummaryList.0.Type", "START_DEPLOYMENT")
	o.is("OperationSummaryList.0.EndedAt", nil)
	o.is("OperationSummaryList.0.TargetArn", arn)
	f.settle(t, arn, apron.ServiceRunning)
	if f.ok(t, "ListOperations", serviceARN(arn, `"MaxResults":1`)).at("OperationSummaryList.0.EndedAt") == nil {
		t.Error("EndedAt is absent")
	}
}

func TestO2UpdateOfAFailedServiceIsLegal(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "web-app")
	f.fails(t, "UpdateService", serviceARN(arn), badState, "Service cannot be updated in the current state: OPERATION_IN_PROGRESS.")
	f.end(t, arn, apron.ServiceCreateFailed, apron.OperationFailed)
	f.ok(t, "UpdateService", serviceARN(arn)).is("Service.Status", "OPERATION_IN_PROGRESS")
	f.settle(t, arn, apron.ServiceRunning)
	f.fails(t, "UpdateService", serviceARN(arn), invalid, "No configurations provided in the UpdateService request.")
}

func TestO3WithoutDomains(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	o := f.ok(t, "DescribeCustomDomains", serviceARN(arn))
	o.size("CustomDomains", 0)
	o.size("VpcDNSTargets", 0)
	o.text("DNSTarget")
	list := f.ok(t, "ListOperations", serviceARN(arn))
	list.is("OperationSummaryList.0.Type", "CREATE_SERVICE")
	list.is("OperationSummaryList.0.Status", "SUCCEEDED")
	f.ok(t, "DeleteService", serviceARN(arn))
	f.fails(t, "DeleteService", serviceARN(arn), badState, "")
}

func TestO4DeleteAllRevisionsOfOne(t *testing.T) {
	f := newFront(t)
	arn := f.newScaling(t).text("AutoScalingConfigurationArn")
	f.fails(t, "DeleteAutoScalingConfiguration", `{"AutoScalingConfigurationArn":"`+arn+`","DeleteAllRevisions":true}`, invalid,
		"You cannot specify full auto scaling configuration ARN and DeleteAllRevisions as true at same time")
}

// TestO5DeletedIsNotListed covers what inventory tools list, delete and list again.
func TestO5DeletedIsNotListed(t *testing.T) {
	f := newFront(t)
	asc := f.newScaling(t).text("AutoScalingConfigurationArn")
	f.ok(t, "DeleteAutoScalingConfiguration", scalingARN(asc))
	list := f.ok(t, "ListAutoScalingConfigurations", `{"LatestOnly":false}`)
	list.size("AutoScalingConfigurationSummaryList", 1) // the default
	list.is("AutoScalingConfigurationSummaryList.0.AutoScalingConfigurationArn", defaultScaling)
}

// TestO8DescriptionIsAccepted sends the answer of DescribeService to UpdateService as it is.
func TestO8DescriptionIsAccepted(t *testing.T) {
	f := newFront(t)
	services := map[string][]string{
		"web-plain": nil,
		"web-code":  {codeSource(fromAPI, `"SourceDirectory":"srv/"`, `"AutoDeploymentsEnabled":false`)},
		"web-file":  {codeSource(strings.Replace(fromAPI, `"API"`, `"REPOSITORY"`, 1))},
		"web-full": {
			private, `"InstanceConfiguration":{"Cpu":"0.25 vCPU","Memory":"0.5 GB","InstanceRoleArn":"arn:aws:iam::123456789012:role/app"}`,
			`"ObservabilityConfiguration":{"ObservabilityEnabled":true}`, `"HealthCheckConfiguration":{"Protocol":"HTTP","Path":"/ok"}`,
			`"SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1","ImageRepositoryType":"ECR",
				"ImageConfiguration":{"StartCommand":"run it","RuntimeEnvironmentVariables":{"A":"1"},"RuntimeEnvironmentSecrets":{"B":"arn"}}},
				"AuthenticationConfiguration":{"AccessRoleArn":"arn:aws:iam::123456789012:role/ecr"}}`,
		},
	}
	for name, members := range services {
		t.Run(name, func(t *testing.T) {
			arn := f.running(t, name, members...)
			before := f.ok(t, "DescribeService", serviceARN(arn)).part("Service")
			blocks := []string{"SourceConfiguration", "InstanceConfiguration", "HealthCheckConfiguration", "NetworkConfiguration", "ObservabilityConfiguration"}
			var sent []string
			for _, b := range blocks {
				sent = append(sent, `"`+b+`":`+raw(t, before.at(b)))
			}
			after := f.ok(t, "UpdateService", serviceARN(arn, sent...)).part("Service")
			for _, b := range blocks {
				same(t, before.at(b), after.at(b))
			}
		})
	}
}
