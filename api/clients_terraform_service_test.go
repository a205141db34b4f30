package api_test

import (
	"regexp"
	"testing"

	"apron"
)

const serviceStatus = "Service.Status"

func TestT1FullARN(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "web-app")
	if !regexp.MustCompile(`^arn:aws:apprunner:us-east-1:123456789012:service/web-app/[0-9a-f]{32}$`).MatchString(arn) {
		t.Error(arn)
	}
}

// TestT3T4C1G5StatusAtOnce has every operation show OPERATION_IN_PROGRESS from its own answer on.
func TestT3T4C1G5StatusAtOnce(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "web-app")
	steps := []struct {
		action, members string
		after           apron.ServiceStatus
	}{
		{"UpdateService", `"InstanceConfiguration":{"Memory":"4096"}`, apron.ServiceRunning},
		{"StartDeployment", "", apron.ServiceRunning},
		{"PauseService", "", apron.ServicePaused},
		{"ResumeService", "", apron.ServiceRunning},
		{"DeleteService", "", apron.ServiceDeleted},
	}
	f.ok(t, "DescribeService", serviceARN(arn)).is(serviceStatus, "OPERATION_IN_PROGRESS")
	f.settle(t, arn, apron.ServiceRunning)
	for _, s := range steps {
		f.ok(t, "DescribeService", serviceARN(arn))
		body := serviceARN(arn)
		if s.members != "" {
			body = serviceARN(arn, s.members)
		}
		o := f.ok(t, s.action, body)
		o.text("OperationId")
		if s.action != "StartDeployment" {
			o.is(serviceStatus, "OPERATION_IN_PROGRESS")
		}
		f.ok(t, "DescribeService", serviceARN(arn)).is(serviceStatus, "OPERATION_IN_PROGRESS")
		f.settle(t, arn, s.after)
		f.ok(t, "DescribeService", serviceARN(arn)).is(serviceStatus, string(s.after))
	}
}

func TestT5DeleteGone(t *testing.T) {
	f := newFront(t)
	f.fails(t, "DeleteService", serviceARN(missingARN), missing, missingARN)
	arn := f.running(t, "web-app")
	f.ok(t, "PauseService", serviceARN(arn))
	f.settle(t, arn, apron.ServicePaused)
	f.ok(t, "DeleteService", serviceARN(arn)).is(serviceStatus, "OPERATION_IN_PROGRESS")
	f.fails(t, "DeleteService", serviceARN(arn), badState, "Service cannot be deleted in the current state: OPERATION_IN_PROGRESS.")
	f.settle(t, arn, apron.ServiceDeleted)
	o := f.ok(t, "DescribeService", serviceARN(arn)) // T6
	o.is(serviceStatus, "DELETED")
	if o.at("Service.DeletedAt") == nil {
		t.Error("DeletedAt is absent")
	}
	f.fails(t, "DeleteService", serviceARN(arn), missing, arn)
}

// TestT7ToT12Defaults has a service that was created with nothing but a source.
func TestT7ToT12Defaults(t *testing.T) {
	f := newFront(t)
	s := f.ok(t, "DescribeService", serviceARN(f.running(t, "web-app"))).part("Service")
	s.is("InstanceConfiguration.Cpu", "1024")
	s.is("InstanceConfiguration.Memory", "2048")
	s.is("InstanceConfiguration.InstanceRoleArn", nil)
	for name, want := range map[string]any{
		"Protocol": "TCP", "Path": "/", "Interval": 5, "Timeout": 2, "HealthyThreshold": 1, "UnhealthyThreshold": 5,
	} {
		s.is("HealthCheckConfiguration."+name, want)
	}
	s.is("NetworkConfiguration.EgressConfiguration.EgressType", "DEFAULT")
	s.is("NetworkConfiguration.EgressConfiguration.VpcConnectorArn", nil)
	s.is("NetworkConfiguration.IngressConfiguration.IsPubliclyAccessible", true)
	s.is("NetworkConfiguration.IpAddressType", "IPV4")
	s.is("EncryptionConfiguration", nil)
	s.is("ObservabilityConfiguration", nil)
	s.is("AutoScalingConfigurationSummary.AutoScalingConfigurationArn", defaultScaling)
	s.is("AutoScalingConfigurationSummary.HasAssociatedService", true)
	s.is("Status", "RUNNING")
	s.is("DeletedAt", nil)
	s.text("ServiceUrl")
	s.text("ServiceId")
	s.is("ServiceName", "web-app")
	f.ok(t, "ListTagsForResource", `{"ResourceArn":"`+s.text("ServiceArn")+`"}`).size("Tags", 0)
}

// TestT14EnvironmentRoundTrips: an ImageConfiguration without the maps empties them.
func TestT14EnvironmentRoundTrips(t *testing.T) {
	f := newFront(t)
	const at = "Service.SourceConfiguration.ImageRepository.ImageConfiguration."
	image := func(config string) string {
		return `"SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC"` + config + `}}`
	}
	env := map[string]any{"A": "1", "EMPTY": "", "TEXT": "<a> & \"b\"\n=ü"}
	secrets := map[string]any{"S": "arn:aws:secretsmanager:us-east-1:123456789012:secret:app-a1b2c3:password::"}
	full := image(`,"ImageConfiguration":{"Port":"3000","RuntimeEnvironmentVariables":` + raw(t, env) + `,"RuntimeEnvironmentSecrets":` + raw(t, secrets) + `}`)
	arn := f.running(t, "web-app", full, `"InstanceConfiguration":{"InstanceRoleArn":"arn:aws:iam::123456789012:role/app"}`)
	o := f.ok(t, "DescribeService", serviceARN(arn))
	same(t, any(env), o.at(at+"RuntimeEnvironmentVariables"))
	same(t, any(secrets), o.at(at+"RuntimeEnvironmentSecrets"))

	o = f.ok(t, "UpdateService", serviceARN(arn, image(""))) // identifier and type alone keep the rest
	same(t, any(env), o.at(at+"RuntimeEnvironmentVariables"))
	o.is(at+"Port", "3000")
	f.settle(t, arn, apron.ServiceRunning)

	o = f.ok(t, "UpdateService", serviceARN(arn, image(`,"ImageConfiguration":{"Port":"8080"}`)))
	o.is(at+"RuntimeEnvironmentVariables", nil)
	o.is(at+"RuntimeEnvironmentSecrets", nil)
	o.is(at+"Port", "8080") // T17
}

func TestT16AutoDeploymentsRoundTrips(t *testing.T) {
	f := newFront(t)
	private := func(auto string) string {
		return `"SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1","ImageRepositoryType":"ECR"},
			"AuthenticationConfiguration":{"AccessRoleArn":"arn:aws:iam::123456789012:role/ecr"}` + auto + `}`
	}
	const at = "Service.SourceConfiguration.AutoDeploymentsEnabled"
	f.ok(t, "CreateService", serviceRequest("absent-public")).is(at, false)
	f.ok(t, "CreateService", serviceRequest("absent-private", private(""))).is(at, true)
	f.ok(t, "CreateService", serviceRequest("false-private", private(`,"AutoDeploymentsEnabled":false`))).is(at, false)
	arn := f.running(t, "true-private", private(`,"AutoDeploymentsEnabled":true`))
	o := f.ok(t, "UpdateService", serviceARN(arn, `"SourceConfiguration":{"AutoDeploymentsEnabled":false}`))
	o.is(at, false)
	o.is("Service.SourceConfiguration.AuthenticationConfiguration.AccessRoleArn", "arn:aws:iam::123456789012:role/ecr")
	f.settle(t, arn, apron.ServiceRunning)
	public := newFront(t)
	arn = public.running(t, "web-app")
	public.fails(t, "UpdateService", serviceARN(arn, `"SourceConfiguration":{"AutoDeploymentsEnabled":true}`), invalid, "AutoDeploymentsEnabled can't be true")
	public.ok(t, "DescribeService", serviceARN(arn)).is(serviceStatus, "RUNNING")
}

// TestT18T19UpdateKeepsTheRest: blocks that are not sent survive, and so do members of a sent
// InstanceConfiguration or HealthCheckConfiguration.
func TestT18T19UpdateKeepsTheRest(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app", private, `"InstanceConfiguration":{"Cpu":"2048","Memory":"4096","InstanceRoleArn":"arn:aws:iam::123456789012:role/app"}`,
		`"HealthCheckConfiguration":{"Protocol":"HTTP","Path":"/ok","Interval":7}`, `"ObservabilityConfiguration":{"ObservabilityEnabled":true}`)
	before := f.ok(t, "DescribeService", serviceARN(arn)).part("Service")
	after := f.ok(t, "UpdateService", serviceARN(arn, `"InstanceConfiguration":{"Memory":"6 GB"},"HealthCheckConfiguration":{"Timeout":9}`)).part("Service")
	for _, block := range []string{"SourceConfiguration", "NetworkConfiguration", "ObservabilityConfiguration", "AutoScalingConfigurationSummary"} {
		same(t, before.at(block), after.at(block))
	}
	same(t, map[string]any{"Cpu": "2048", "Memory": "6144", "InstanceRoleArn": "arn:aws:iam::123456789012:role/app"}, after.at("InstanceConfiguration").(map[string]any))
	after.is("HealthCheckConfiguration.Protocol", "HTTP")
	after.is("HealthCheckConfiguration.Path", "/ok")
	after.is("HealthCheckConfiguration.Interval", 7)
	after.is("HealthCheckConfiguration.Timeout", 9)
}

func TestT20ServiceURL(t *testing.T) {
	f := newFront(t)
	o := f.ok(t, "CreateService", serviceRequest("web-app", private)).part("Service")
	f.ok(t, "DescribeCustomDomains", serviceARN(o.text("ServiceArn"))).is("DNSTarget", o.text("ServiceUrl"))
}

func TestT21ObservabilityRoundTrips(t *testing.T) {
	f := newFront(t)
	const at = "Service.ObservabilityConfiguration"
	config := f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"tracing","TraceConfiguration":{"Vendor":"AWSXRAY"}}`).
		text("ObservabilityConfiguration.ObservabilityConfigurationArn")
	arn := f.running(t, "web-app", `"ObservabilityConfiguration":{"ObservabilityEnabled":true,"ObservabilityConfigurationArn":"`+config+`"}`)
	o := f.ok(t, "DescribeService", serviceARN(arn))
	o.is(at+".ObservabilityEnabled", true)
	o.is(at+".ObservabilityConfigurationArn", config)
	f.fails(t, "DeleteObservabilityConfiguration", `{"ObservabilityConfigurationArn":"`+config+`"}`, invalid, "in use")
	o = f.ok(t, "UpdateService", serviceARN(arn, `"ObservabilityConfiguration":{"ObservabilityEnabled":false}`))
	o.is(at+".ObservabilityEnabled", false)
	o.is(at+".ObservabilityConfigurationArn", nil)
}

func TestT22Egress(t *testing.T) {
	f := newFront(t)
	const at = "Service.NetworkConfiguration."
	connector := f.ok(t, "CreateVpcConnector", `{"VpcConnectorName":"connector","Subnets":["subnet-1"]}`).text("VpcConnector.VpcConnectorArn")
	arn := f.running(t, "web-app", private)
	o := f.ok(t, "UpdateService", serviceARN(arn, `"NetworkConfiguration":{"EgressConfiguration":{"EgressType":"VPC","VpcConnectorArn":"`+connector+`"}}`))
	o.is(at+"EgressConfiguration.EgressType", "VPC")
	o.is(at+"EgressConfiguration.VpcConnectorArn", connector)
	o.is(at+"IngressConfiguration.IsPubliclyAccessible", false)
	f.settle(t, arn, apron.ServiceRunning)
	o = f.ok(t, "UpdateService", serviceARN(arn, `"NetworkConfiguration":{"EgressConfiguration":{"EgressType":"DEFAULT"}}`))
	o.is(at+"EgressConfiguration.EgressType", "DEFAULT")
	o.is(at+"EgressConfiguration.VpcConnectorArn", nil)
	o.is(at+"IngressConfiguration.IsPubliclyAccessible", false)
}

// TestT23C8NameIsFreeAfterDelete, and even while the service is being deleted (G2).
func TestT23C8NameIsFreeAfterDelete(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "web-app")
	f.fails(t, "CreateService", serviceRequest("web-app"), invalid, "Service with the provided name already exists: web-app")
	f.end(t, arn, apron.ServiceCreateFailed, apron.OperationFailed)
	f.fails(t, "CreateService", serviceRequest("web-app"), invalid, "Service with the provided name already exists: web-app")
	f.ok(t, "DeleteService", serviceARN(arn))
	if again := f.create(t, "web-app"); again == arn {
		t.Error("the new service is the old one")
	}
}
