package api_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"apron"
)

// Statements of what clients rely on that one request and its answer show. The numbers are those
// of the reference.

func TestW2MessageIsReadable(t *testing.T) {
	f := newFront(t)
	w := f.call(t, "DescribeService", `{"ServiceArn":"nonsense"}`)
	var body struct{ Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Message == "" {
		t.Errorf("got %s, %v", w.Body, err)
	}
}

func TestT6DeletedIsShownAsDeleted(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app")
	f.ok(t, "DeleteService", serviceARN(arn))
	f.settle(t, arn, apron.ServiceDeleted)
	f.ok(t, "DescribeService", serviceARN(arn)).is(serviceStatus, "DELETED")
}

func TestT17PortIsAString(t *testing.T) {
	f := newFront(t)
	f.ok(t, "DescribeService", serviceARN(f.create(t, "web-app"))).
		is("Service.SourceConfiguration.ImageRepository.ImageConfiguration.Port", "8080")
}

func TestT34FlagsAreThere(t *testing.T) {
	f := newFront(t)
	asc := f.newScaling(t)
	asc.is("HasAssociatedService", false)
	asc.is("IsDefault", false)
}

func TestT35ScalingARN(t *testing.T) {
	f := newFront(t)
	arn := f.newScaling(t).text("AutoScalingConfigurationArn")
	if !regexp.MustCompile(`autoscalingconfiguration/[^/]+/1/[0-9a-f]{32}$`).MatchString(arn) {
		t.Error(arn)
	}
}

func TestT96ListServicesOfNothing(t *testing.T) {
	o := newFront(t).ok(t, "ListServices", "{}")
	o.size("ServiceSummaryList", 0)
	o.is("NextToken", nil)
}

func TestC4DeleteOfAMissingService(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "web-app")
	f.fails(t, "DeleteService", serviceARN(arn[:len(arn)-4]+"0000"), "ResourceNotFoundException", "")
}

func TestC5IngressIsDescribableWhenDeleted(t *testing.T) {
	f := newFront(t)
	arn := f.running(t, "web-app", private)
	create := serviceARN(arn, `"VpcIngressConnectionName":"ingress","IngressVpcConfiguration":{"VpcId":"vpc-1","VpcEndpointId":"vpce-1"}`)
	body := `{"VpcIngressConnectionArn":"` + f.ok(t, "CreateVpcIngressConnection", create).text("VpcIngressConnection.VpcIngressConnectionArn") + `"}`
	f.walk(t)
	f.ok(t, "DeleteVpcIngressConnection", body)
	f.walk(t)
	f.ok(t, "DescribeVpcIngressConnection", body).is("VpcIngressConnection.Status", "DELETED")
}

// TestC10VariablesAreAMap: templates have lists of names and values, the API has a map.
func TestC10VariablesAreAMap(t *testing.T) {
	f := newFront(t)
	source := func(variables string) string {
		return serviceRequest("web-app", `"SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1",`+
			`"ImageRepositoryType":"ECR_PUBLIC","ImageConfiguration":{"RuntimeEnvironmentVariables":`+variables+`}}}`)
	}
	f.fails(t, "CreateService", source(`[{"Name":"A","Value":"b"}]`), "SerializationException", "")
	f.ok(t, "CreateService", source(`{"A":"b"}`)).
		is("Service.SourceConfiguration.ImageRepository.ImageConfiguration.RuntimeEnvironmentVariables.A", "b")
}

func TestP2ARNHasThreeParts(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "web-app")
	if parts := strings.Split(arn[strings.LastIndex(arn, ":")+1:], "/"); len(parts) != 3 || parts[0] != "service" || parts[1] != "web-app" {
		t.Errorf("%q", parts)
	}
}

func TestG2FailedServiceIsReplacedAtOnce(t *testing.T) {
	f := newFront(t)
	arn := f.create(t, "web-app")
	f.end(t, arn, apron.ServiceCreateFailed, apron.OperationFailed)
	f.ok(t, "DeleteService", serviceARN(arn))
	if again := f.create(t, "web-app"); again == arn { // while the delete goes on
		t.Errorf("%s came back", arn)
	}
}

func TestG4EmptyAuthentication(t *testing.T) {
	f := newFront(t)
	f.ok(t, "CreateService", serviceRequest("web-app", `"SourceConfiguration":{"AuthenticationConfiguration":{},`+
		`"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1","ImageRepositoryType":"ECR_PUBLIC"}}`))
}

func TestG6OperationID(t *testing.T) {
	f := newFront(t)
	o := f.ok(t, "CreateService", serviceRequest("web-app"))
	id := o.text("OperationId")
	arn := o.text("Service.ServiceArn")
	f.ok(t, "ListOperations", serviceARN(arn)).is("OperationSummaryList.0.Id", id)
	f.settle(t, arn, apron.ServiceRunning)
	f.ok(t, "UpdateService", serviceARN(arn, `"InstanceConfiguration":{"Memory":"4096"}`)).text("OperationId")
}
