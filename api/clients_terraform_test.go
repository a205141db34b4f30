package api_test

import (
	"fmt"
	"regexp"
	"testing"
	"time"

	"apron"
)

// matches reports whether a text is not what a pattern says.
func matches(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(text) {
		t.Errorf("%q does not match %s", text, pattern)
	}
}

// newScaling makes the next revision of the auto scaling configuration called high.
func (f *front) newScaling(t *testing.T) object {
	t.Helper()
	return f.ok(t, "CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"high"}`).part("AutoScalingConfiguration")
}

func scalingARN(arn string) string { return fmt.Sprintf(`{"AutoScalingConfigurationArn":%q}`, arn) }

func TestT30StatusInLowerCase(t *testing.T) {
	f := newFront(t)
	c := f.newScaling(t)
	arn := c.text("AutoScalingConfigurationArn")
	c.is("Status", "active")
	matches(t, arn, `arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/high/1/[0-9a-f]{32}`) // T35
	f.ok(t, "DescribeAutoScalingConfiguration", scalingARN(arn)).is("AutoScalingConfiguration.Status", "active")
	gone := f.ok(t, "DeleteAutoScalingConfiguration", scalingARN(arn)).part("AutoScalingConfiguration")
	gone.is("Status", "inactive")
	gone.is("Latest", false)
	if gone.at("DeletedAt") == nil {
		t.Error("DeletedAt is absent")
	}
	f.ok(t, "DescribeAutoScalingConfiguration", scalingARN(arn)).is("AutoScalingConfiguration.Status", "inactive")
	f.fails(t, "DeleteAutoScalingConfiguration", scalingARN(arn), missing, arn)
}

func TestT31FirstRevision(t *testing.T) {
	c := newFront(t).newScaling(t)
	for name, want := range map[string]any{
		"AutoScalingConfigurationRevision": 1, "Latest": true, "MaxConcurrency": 100, "MinSize": 1, "MaxSize": 25,
		"HasAssociatedService": false, "IsDefault": false, "DeletedAt": nil, // T34
	} {
		c.is(name, want)
	}
}

func TestT32SecondRevision(t *testing.T) {
	f := newFront(t)
	first, second := f.newScaling(t), f.newScaling(t)
	second.is("AutoScalingConfigurationRevision", 2)
	second.is("Latest", true)
	o := f.ok(t, "DescribeAutoScalingConfiguration", scalingARN(first.text("AutoScalingConfigurationArn")))
	o.is("AutoScalingConfiguration.Latest", false)
	partial := "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/high"
	f.ok(t, "DescribeAutoScalingConfiguration", scalingARN(partial)).is("AutoScalingConfiguration.AutoScalingConfigurationRevision", 2)
	f.ok(t, "DescribeAutoScalingConfiguration", scalingARN(partial+"/1")).is("AutoScalingConfiguration.AutoScalingConfigurationRevision", 1)
}

func TestT33RevisionsComeAgain(t *testing.T) {
	f := newFront(t)
	f.newScaling(t)
	second := f.newScaling(t).text("AutoScalingConfigurationArn")
	f.ok(t, "DeleteAutoScalingConfiguration", scalingARN(second))
	f.newScaling(t).is("AutoScalingConfigurationRevision", 2)
	o := f.ok(t, "DeleteAutoScalingConfiguration",
		`{"AutoScalingConfigurationArn":"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/high","DeleteAllRevisions":true}`)
	same(t, any(map[string]any{
		"AutoScalingConfigurationArn":  "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/high",
		"AutoScalingConfigurationName": "high", "Status": "inactive",
	}), o.at("AutoScalingConfiguration"))
	f.newScaling(t).is("AutoScalingConfigurationRevision", 1)
}

func TestT36DefaultIsListed(t *testing.T) {
	f := newFront(t)
	first := f.newScaling(t).text("AutoScalingConfigurationArn")
	f.newScaling(t) // so that the default is not the latest of its name
	o := f.ok(t, "UpdateDefaultAutoScalingConfiguration", scalingARN(first))
	o.is("AutoScalingConfiguration.IsDefault", true)
	defaults := func(member string) (arns []string) {
		list := f.ok(t, "ListAutoScalingConfigurations", "{"+member+"}")
		for i := range list.list("AutoScalingConfigurationSummaryList") {
			c := list.part(fmt.Sprintf("AutoScalingConfigurationSummaryList.%d", i))
			c.is("Status", "active")
			if c.at("IsDefault") == true {
				arns = append(arns, c.text("AutoScalingConfigurationArn"))
			}
		}
		return arns
	}
	same(t, []string{first}, defaults(""))
	same(t, []string(nil), defaults(`"LatestOnly":true`))
	f.ok(t, "CreateService", serviceRequest("web-app")).is("Service.AutoScalingConfigurationSummary.AutoScalingConfigurationArn", first)
	f.fails(t, "DeleteAutoScalingConfiguration", scalingARN(first), invalid, "is the default") // T97
}

func TestT40ToT43Connections(t *testing.T) {
	f := newFront(t)
	created := f.ok(t, "CreateConnection", `{"ConnectionName":"conn-a","ProviderType":"GITHUB"}`).part("Connection")
	f.ok(t, "CreateConnection", `{"ConnectionName":"conn-b","ProviderType":"BITBUCKET"}`)
	created.is("Status", "PENDING_HANDSHAKE")
	arn := created.text("ConnectionArn")
	matches(t, arn, `arn:aws:apprunner:us-east-1:123456789012:connection/conn-a/[0-9a-f]{32}`)
	list := f.ok(t, "ListConnections", `{"ConnectionName":"conn-a"}`)
	same(t, any([]any{created.value}), list.at("ConnectionSummaryList"))
	f.fails(t, "CreateConnection", `{"ConnectionName":"conn-a","ProviderType":"GITHUB"}`, invalid, "already exists")
	f.ok(t, "DeleteConnection", `{"ConnectionArn":"`+arn+`"}`).is("Connection.Status", "DELETED")
	f.ok(t, "ListConnections", `{"ConnectionName":"conn-a"}`).size("ConnectionSummaryList", 0)
	f.fails(t, "DeleteConnection", `{"ConnectionArn":"`+arn+`"}`, missing, arn)
}

// TestT50ToT53CustomDomains walks an association with www. through its statuses.
func TestT50ToT53CustomDomains(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	domain := serviceARN(arn, `"DomainName":"shop.test"`)
	o := f.ok(t, "AssociateCustomDomain", domain)
	o.is("CustomDomain.Status", "creating")
	o.is("CustomDomain.EnableWWWSubdomain", true)
	o.is("CustomDomain.CertificateValidationRecords", nil)
	o.is("ServiceArn", arn)
	o.size("VpcDNSTargets", 0)
	o.text("DNSTarget")
	f.walk(t)
	o = f.ok(t, "DescribeCustomDomains", serviceARN(arn))
	o.is("CustomDomains.0.Status", "pending_certificate_dns_validation")
	o.size("CustomDomains.0.CertificateValidationRecords", 3)
	for _, host := range []string{"shop.test", "www.shop.test"} {
		if f := raw(t, o.value); !regexp.MustCompile(`"_[0-9a-f]{32}\.` + host + `\."`).MatchString(f) {
			t.Errorf("no record for %s in %s", host, f)
		}
	}
	f.advance(time.Minute)
	f.walk(t)
	o = f.ok(t, "DescribeCustomDomains", serviceARN(arn))
	o.is("CustomDomains.0.Status", "active")
	o.is("CustomDomains.0.CertificateValidationRecords.0.Status", "SUCCESS")
	o = f.ok(t, "DisassociateCustomDomain", domain)
	o.is("CustomDomain.Status", "deleting")
	o.size("CustomDomain.CertificateValidationRecords", 3)
	f.ok(t, "DescribeCustomDomains", serviceARN(arn)).is("CustomDomains.0.Status", "deleting")
	f.walk(t)
	f.ok(t, "DescribeCustomDomains", serviceARN(arn)).size("CustomDomains", 0)
	f.fails(t, "DescribeCustomDomains", serviceARN(missingARN), missing, missingARN)
	f.fails(t, "AssociateCustomDomain", serviceARN(missingARN, `"DomainName":"shop.test"`), invalid, missingARN)
}

// TestT53DeletingAtOnce takes a domain away while it is being validated, and before it has records.
func TestT53DeletingAtOnce(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	for walks := range 2 {
		f.ok(t, "AssociateCustomDomain", serviceARN(arn, `"DomainName":"shop.test","EnableWWWSubdomain":false`)).is("CustomDomain.EnableWWWSubdomain", false)
		for range walks {
			f.walk(t)
		}
		o := f.ok(t, "DisassociateCustomDomain", serviceARN(arn, `"DomainName":"shop.test"`))
		o.is("CustomDomain.Status", "deleting")
		o.size("CustomDomain.CertificateValidationRecords", 2*walks)
		f.walk(t)
	}
}

func TestT60Observability(t *testing.T) {
	f := newFront(t)
	c := f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"tracing"}`).part("ObservabilityConfiguration")
	c.is("Status", "ACTIVE")
	c.is("ObservabilityConfigurationRevision", 1)
	c.is("Latest", true)
	c.is("TraceConfiguration", nil)
	arn := c.text("ObservabilityConfigurationArn")
	matches(t, arn, `arn:aws:apprunner:us-east-1:123456789012:observabilityconfiguration/tracing/1/[0-9a-f]{32}`)
	f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"tracing","TraceConfiguration":{"Vendor":"AWSXRAY"}}`).
		is("ObservabilityConfiguration.TraceConfiguration.Vendor", "AWSXRAY")
	body := `{"ObservabilityConfigurationArn":"` + arn + `"}`
	f.ok(t, "DescribeObservabilityConfiguration", body).is("ObservabilityConfiguration.Latest", false)
	f.ok(t, "DeleteObservabilityConfiguration", body).is("ObservabilityConfiguration.Status", "INACTIVE")
	f.ok(t, "DescribeObservabilityConfiguration", body).is("ObservabilityConfiguration.Status", "INACTIVE")
	f.fails(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"DefaultConfiguration"}`, invalid, "DefaultConfiguration")
	f.fails(t, "DeleteObservabilityConfiguration", `{"ObservabilityConfigurationArn":"`+defaultObservability+`"}`, invalid, "default")
}

func TestT70T71VPCConnector(t *testing.T) {
	f := newFront(t)
	c := f.ok(t, "CreateVpcConnector", `{"VpcConnectorName":"connector","Subnets":["subnet-1","subnet-2"],"SecurityGroups":["sg-1"]}`).part("VpcConnector")
	c.is("Status", "ACTIVE")
	c.is("VpcConnectorRevision", 1)
	same(t, any([]any{"subnet-1", "subnet-2"}), c.at("Subnets"))
	same(t, any([]any{"sg-1"}), c.at("SecurityGroups"))
	arn := c.text("VpcConnectorArn")
	matches(t, arn, `arn:aws:apprunner:us-east-1:123456789012:vpcconnector/connector/1/[0-9a-f]{32}`)
	body := `{"VpcConnectorArn":"` + arn + `"}`
	f.ok(t, "DeleteVpcConnector", body).is("VpcConnector.Status", "INACTIVE")
	f.ok(t, "DescribeVpcConnector", body).is("VpcConnector.Status", "INACTIVE")
	f.ok(t, "ListVpcConnectors", "{}").size("VpcConnectors", 0)
	c = f.ok(t, "CreateVpcConnector", `{"VpcConnectorName":"connector","Subnets":["subnet-1"],"SecurityGroups":[]}`).part("VpcConnector")
	c.size("SecurityGroups", 1)
	f.fails(t, "CreateVpcConnector", `{"VpcConnectorName":"other","Subnets":[]}`, invalid, "subnet")
}

func TestT80VPCIngressConnection(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app", private)
	create := serviceARN(arn, `"VpcIngressConnectionName":"ingress","IngressVpcConfiguration":{"VpcId":"vpc-1","VpcEndpointId":"vpce-1"}`)
	v := f.ok(t, "CreateVpcIngressConnection", create).part("VpcIngressConnection")
	v.is("Status", "PENDING_CREATION")
	v.is("AccountId", account)
	v.is("DomainName", nil)
	body := `{"VpcIngressConnectionArn":"` + v.text("VpcIngressConnectionArn") + `"}`
	f.fails(t, "DeleteVpcIngressConnection", body, badState, "PENDING_CREATION")
	f.walk(t)
	v = f.ok(t, "DescribeVpcIngressConnection", body).part("VpcIngressConnection")
	v.is("Status", "AVAILABLE")
	v.text("DomainName")
	f.ok(t, "AssociateCustomDomain", serviceARN(arn, `"DomainName":"shop.test"`)).is("VpcDNSTargets.0.DomainName", v.text("DomainName"))
	f.ok(t, "DeleteVpcIngressConnection", body).is("VpcIngressConnection.Status", "PENDING_DELETION")
	f.walk(t)
	v = f.ok(t, "DescribeVpcIngressConnection", body).part("VpcIngressConnection") // C5
	v.is("Status", "DELETED")
	f.ok(t, "ListVpcIngressConnections", "{}").size("VpcIngressConnectionSummaryList", 0)
}

func TestT90DeploymentIsListed(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	o := f.ok(t, "StartDeployment", serviceARN(arn))
	same(t, any(map[string]any{"OperationId": o.text("OperationId")}), o.value)
	f.ok(t, "ListOperations", serviceARN(arn)).is("OperationSummaryList.0.Status", "PENDING")
	f.fails(t, "StartDeployment", serviceARN(arn), invalid, "Can't start a deployment on the specified service, because it isn't in RUNNING state")
	f.settle(t, arn, apron.ServiceRunning)
	list := f.ok(t, "ListOperations", serviceARN(arn))
	list.is("OperationSummaryList.0.Id", o.text("OperationId"))
	list.is("OperationSummaryList.0.Type", "START_DEPLOYMENT")
	list.is("OperationSummaryList.0.Status", "SUCCEEDED")
}

// TestT95Tags tags one resource of each of the six types, at creation and later.
func TestT95Tags(t *testing.T) {
	f := newFront(t)
	const tags = `"Tags":[{"Key":"team","Value":"blue"},{"Key":"empty"}]`
	service := f.running(t, "web-app", private, tags)
	arns := []string{
		service,
		f.ok(t, "CreateConnection", `{"ConnectionName":"conn-a","ProviderType":"GITHUB",`+tags+`}`).text("Connection.ConnectionArn"),
		f.ok(t, "CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"high",`+tags+`}`).text("AutoScalingConfiguration.AutoScalingConfigurationArn"),
		f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"high",`+tags+`}`).text("ObservabilityConfiguration.ObservabilityConfigurationArn"),
		f.ok(t, "CreateVpcConnector", `{"VpcConnectorName":"connector","Subnets":["subnet-1"],`+tags+`}`).text("VpcConnector.VpcConnectorArn"),
		f.ok(t, "CreateVpcIngressConnection", serviceARN(service, tags, `"VpcIngressConnectionName":"ingress",
			"IngressVpcConfiguration":{"VpcId":"vpc-1","VpcEndpointId":"vpce-1"}`)).text("VpcIngressConnection.VpcIngressConnectionArn"),
	}
	for _, arn := range arns {
		resource := fmt.Sprintf(`{"ResourceArn":%q`, arn)
		same(t, any([]any{map[string]any{"Key": "team", "Value": "blue"}, map[string]any{"Key": "empty", "Value": ""}}),
			f.ok(t, "ListTagsForResource", resource+"}").at("Tags"))
		same(t, any(map[string]any{}), f.ok(t, "TagResource", resource+`,"Tags":[{"Key":"team","Value":"red"},{"Key":"new","Value":"x"}]}`).value)
		same(t, any(map[string]any{}), f.ok(t, "UntagResource", resource+`,"TagKeys":["empty","unknown"]}`).value)
		same(t, any([]any{map[string]any{"Key": "team", "Value": "red"}, map[string]any{"Key": "new", "Value": "x"}}),
			f.ok(t, "ListTagsForResource", resource+"}").at("Tags"))
		f.fails(t, "TagResource", resource+`,"Tags":[{"Key":"apron:unknown"}]}`, invalid, "Unknown tag key: apron:unknown")
	}
	f.fails(t, "ListTagsForResource", `{"ResourceArn":"`+missingARN+`"}`, missing, missingARN)
}

func TestT97DefaultsCannotBeDeleted(t *testing.T) {
	f := newFront(t)
	f.fails(t, "DeleteAutoScalingConfiguration", scalingARN(defaultScaling), invalid, "is the default")
	asc := f.newScaling(t).text("AutoScalingConfigurationArn")
	f.create(t, "web-app")
	f.ok(t, "CreateService", serviceRequest("web-two", `"AutoScalingConfigurationArn":"`+asc+`"`))
	f.fails(t, "DeleteAutoScalingConfiguration", scalingARN(asc), invalid, "in use")
}
