package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"apron"
	"apron/api"
)

// The tests of files clients_*_test.go are named after the numbered statements about what clients
// rely on. W: AWS SDKs and the AWS CLI; T: Terraform's AWS provider; C: CloudFormation and CDK; P:
// Copilot; G: the GitHub action; O: others.

const (
	invalid  = "InvalidRequestException"
	missing  = "ResourceNotFoundException"
	badState = "InvalidStateException"

	defaultScaling       = "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"
	defaultObservability = "arn:aws:apprunner:us-east-1:123456789012:observabilityconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"
)

// TestW1ErrorsCarryType and a message; the code is in the body, where botocore looks for it alone.
func TestW1ErrorsCarryType(t *testing.T) {
	f := newFront(t)
	w := f.call(t, "DescribeService", serviceARN(missingARN))
	var body map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	if body["__type"] != missing {
		t.Errorf("W1: __type %q", body["__type"])
	}
	if !strings.Contains(body["Message"], missingARN) {
		t.Errorf("W2: Message %q", body["Message"])
	}
}

func TestW3RequestIDOnEveryAnswer(t *testing.T) {
	f := newFront(t)
	for _, body := range []string{"{}", `{"MaxResults":0}`, "nonsense"} {
		header := f.call(t, "ListServices", body).Header()
		if header.Get("x-amzn-RequestId") != requestID || header.Get("Content-Type") != "application/x-amz-json-1.0" {
			t.Errorf("%s: %v", body, header)
		}
	}
}

func TestW4W5JSONTypes(t *testing.T) {
	f := newFront(t)
	o := f.ok(t, "CreateService", serviceRequest("web-app")).part("Service")
	for _, path := range []string{"CreatedAt", "UpdatedAt", "AutoScalingConfigurationSummary.CreatedAt", "HealthCheckConfiguration.Interval"} {
		if _, ok := o.at(path).(json.Number); !ok {
			t.Errorf("%s is %T", path, o.at(path))
		}
	}
	o.is("SourceConfiguration.ImageRepository.ImageConfiguration.Port", "8080")
}

func TestW7IngressEmptyMeansPrivate(t *testing.T) {
	const public = "Service.NetworkConfiguration.IngressConfiguration.IsPubliclyAccessible"
	f := newFront(t)
	empty, no, yes := `{}`, `{"IsPubliclyAccessible":false}`, `{"IsPubliclyAccessible":true}`
	tests := map[string]struct {
		create, update          string // IngressConfiguration; empty: absent
		afterCreate, afterwards bool
	}{
		"create-absent":     {afterCreate: true, update: empty},
		"create-empty":      {create: empty, update: yes, afterwards: true},
		"create-false":      {create: no, afterCreate: false, update: empty},
		"create-true":       {create: yes, afterCreate: true, update: no},
		"create-null":       {create: "null", afterCreate: true, update: "null", afterwards: true},
		"update-absent-not": {create: empty},
		"update-absent-yes": {create: yes, afterCreate: true, afterwards: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			member := func(ingress string) string {
				if ingress == "" {
					return `"NetworkConfiguration":{"EgressConfiguration":{"EgressType":"DEFAULT"}}`
				}
				return `"NetworkConfiguration":{"IngressConfiguration":` + ingress + `}`
			}
			o := f.ok(t, "CreateService", serviceRequest(name, member(tt.create)))
			o.is(public, tt.afterCreate)
			arn := o.text("Service.ServiceArn")
			f.settle(t, arn, apron.ServiceRunning)
			f.ok(t, "UpdateService", serviceARN(arn, member(tt.update))).is(public, tt.afterwards)
		})
	}
}

func TestW8AbsentBooleans(t *testing.T) {
	f := newFront(t)
	const list = "AutoScalingConfigurationSummaryList"
	for range 2 {
		f.ok(t, "CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"high"}`)
		f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"high"}`)
	}
	for member, want := range map[string]int{"": 1, `,"LatestOnly":null`: 1, `,"LatestOnly":true`: 1, `,"LatestOnly":false`: 2} {
		f.ok(t, "ListAutoScalingConfigurations", `{"AutoScalingConfigurationName":"high"`+member+`}`).size(list, want)
		f.ok(t, "ListObservabilityConfigurations", `{"ObservabilityConfigurationName":"high"`+member+`}`).size("ObservabilityConfigurationSummaryList", want)
	}
	f.ok(t, "DeleteAutoScalingConfiguration", `{"AutoScalingConfigurationArn":"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/high"}`)
	o := f.ok(t, "ListAutoScalingConfigurations", `{"AutoScalingConfigurationName":"high"}`)
	o.size(list, 1)
	o.is(list+".0.AutoScalingConfigurationRevision", 1)
}

func TestW9ListServicesReturnsEverything(t *testing.T) {
	f := newFront(t)
	for i := range 23 {
		f.advance(time.Second)
		f.create(t, fmt.Sprintf("service-%d", i))
	}
	o := f.ok(t, "ListServices", "{}")
	o.size("ServiceSummaryList", 23)
	o.is("NextToken", nil)
}

// TestW10LastPageHasNoToken walks every paged list in pages of one.
func TestW10LastPageHasNoToken(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app", private)
	f.ok(t, "StartDeployment", serviceARN(arn))
	f.settle(t, arn, apron.ServiceRunning)
	f.create(t, "web-two")
	f.ok(t, "CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"high"}`)
	f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"high"}`)
	for _, n := range []string{"a", "b"} {
		f.advance(time.Second)
		f.ok(t, "CreateConnection", `{"ConnectionName":"conn-`+n+`","ProviderType":"GITHUB"}`)
		f.ok(t, "CreateVpcConnector", `{"VpcConnectorName":"conn-`+n+`","Subnets":["subnet-1"]}`)
		f.ok(t, "AssociateCustomDomain", serviceARN(arn, `"DomainName":"`+n+`.shop.test"`))
	}
	f.ok(t, "CreateVpcIngressConnection", serviceARN(arn, `"VpcIngressConnectionName":"ingress","IngressVpcConfiguration":{"VpcId":"vpc-1","VpcEndpointId":"vpce-1"}`))
	tests := map[string]struct {
		list, member string
		want         int
	}{
		"DescribeCustomDomains":                   {"CustomDomains", `"ServiceArn":"` + arn + `"`, 2},
		"ListAutoScalingConfigurations":           {"AutoScalingConfigurationSummaryList", "", 2},
		"ListConnections":                         {"ConnectionSummaryList", "", 2},
		"ListObservabilityConfigurations":         {"ObservabilityConfigurationSummaryList", "", 2},
		"ListOperations":                          {"OperationSummaryList", `"ServiceArn":"` + arn + `"`, 2},
		"ListServices":                            {"ServiceSummaryList", "", 2},
		"ListServicesForAutoScalingConfiguration": {"ServiceArnList", `"AutoScalingConfigurationArn":"` + defaultScaling + `"`, 2},
		"ListVpcConnectors":                       {"VpcConnectors", "", 2},
		"ListVpcIngressConnections":               {"VpcIngressConnectionSummaryList", `"Filter":{"ServiceArn":"` + arn + `"}`, 1},
	}
	for action, tt := range tests {
		t.Run(action, func(t *testing.T) {
			member := tt.member
			if member != "" {
				member = "," + member
			}
			whole := f.ok(t, action, `{"MaxResults":5`+member+`}`)
			whole.is("NextToken", nil)
			token := ""
			for i := range tt.want {
				o := f.ok(t, action, `{"MaxResults":1`+token+member+`}`)
				same(t, whole.list(tt.list)[i:i+1], o.list(tt.list))
				if last := i == tt.want-1; last {
					o.is("NextToken", nil)
				} else {
					token = `,"NextToken":"` + o.text("NextToken") + `"`
				}
			}
			f.fails(t, action, `{"NextToken":"none"`+member+`}`, invalid, "NextToken is invalid")
		})
	}
}

func TestW11OnlyInternalErrorsAre500(t *testing.T) {
	for _, action := range []string{"CreateService", "ListServices", "PauseService"} {
		for _, kind := range []apron.FaultKind{apron.Invalid, apron.NotFound, apron.State, apron.Quota} {
			if name, status := api.Explain(apron.Faultf(kind, "because"), action); status != http.StatusBadRequest {
				t.Errorf("%s %s: %s %d", action, kind, name, status)
			}
		}
	}
}

func TestW12ValidationText(t *testing.T) {
	f := newFront(t)
	f.fails(t, "CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"`+strings.Repeat("a", 35)+`"}`, invalid,
		"2 validation errors detected: Value '"+strings.Repeat("a", 35)+"' at 'autoScalingConfigurationName' failed to satisfy constraint: "+
			`Member must satisfy regular expression pattern: [A-Za-z0-9][A-Za-z0-9\-_]{3,31}; Value`)
	f.fails(t, "TagResource", `{"ResourceArn":"`+missingARN+`","Tags":[{"Value":"x"}]}`, invalid,
		"1 validation error detected: Value null at 'tags.1.member.key' failed to satisfy constraint: Member must not be null")
}

func TestW13Sizes(t *testing.T) {
	f := newFront(t)
	for i, size := range []string{`"Cpu":"1 vCPU","Memory":"2 GB"`, `"Cpu":"1024","Memory":"2048"`, `"Cpu":"1 vCPU"`, `"Memory":"2048"`} {
		name := fmt.Sprintf("service-%d", i)
		o := f.ok(t, "CreateService", serviceRequest(name, `"InstanceConfiguration":{`+size+`}`))
		o.is("Service.InstanceConfiguration.Cpu", "1024")
		o.is("Service.InstanceConfiguration.Memory", "2048")
	}
}
