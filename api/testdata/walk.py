"""Goes through all actions of the API with boto3, for TestClients. Exit status 77: no boto3."""
import os
import sys

try:
    import boto3
except ImportError:
    sys.exit(77)

endpoint = os.environ["AWS_ENDPOINT_URL"]  # boto3 before 1.28 does not read it
c = boto3.client("apprunner", endpoint_url=endpoint)
current = hasattr(c, "update_default_auto_scaling_configuration")  # boto3 before 1.28.55 lacks two actions
P = "arn:aws:apprunner:us-east-1:123456789012:"

assert boto3.client("sts", endpoint_url=endpoint).get_caller_identity()["Account"] == "123456789012"

asc = c.create_auto_scaling_configuration(
    AutoScalingConfigurationName="high", MaxConcurrency=50, MinSize=2, MaxSize=10, Tags=[{"Key": "team", "Value": "blue"}]
)["AutoScalingConfiguration"]
second = c.create_auto_scaling_configuration(AutoScalingConfigurationName="high")["AutoScalingConfiguration"]
assert (asc["AutoScalingConfigurationRevision"], second["AutoScalingConfigurationRevision"]) == (1, 2)
assert c.describe_auto_scaling_configuration(AutoScalingConfigurationArn=P + "autoscalingconfiguration/high")["AutoScalingConfiguration"]["Latest"]
page = c.list_auto_scaling_configurations(LatestOnly=False, MaxResults=2)
page = c.list_auto_scaling_configurations(LatestOnly=False, MaxResults=2, NextToken=page["NextToken"])
assert len(page["AutoScalingConfigurationSummaryList"]) == 1 and "NextToken" not in page
if current:
    c.update_default_auto_scaling_configuration(AutoScalingConfigurationArn=P + "autoscalingconfiguration/DefaultConfiguration")

tracing = c.create_observability_configuration(
    ObservabilityConfigurationName="tracing", TraceConfiguration={"Vendor": "AWSXRAY"}
)["ObservabilityConfiguration"]["ObservabilityConfigurationArn"]
c.describe_observability_configuration(ObservabilityConfigurationArn=tracing)
assert len(c.list_observability_configurations(LatestOnly=True)["ObservabilityConfigurationSummaryList"]) == 2

connection = c.create_connection(ConnectionName="github", ProviderType="GITHUB")["Connection"]
assert connection["Status"] == "PENDING_HANDSHAKE"
assert len(c.list_connections(ConnectionName="github")["ConnectionSummaryList"]) == 1

connector = c.create_vpc_connector(VpcConnectorName="connector", Subnets=["subnet-1", "subnet-2"])["VpcConnector"]
c.describe_vpc_connector(VpcConnectorArn=connector["VpcConnectorArn"])
assert c.list_vpc_connectors()["VpcConnectors"][0]["SecurityGroups"]

service = c.create_service(
    ServiceName="web-app",
    SourceConfiguration={
        "ImageRepository": {
            "ImageIdentifier": "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:v1",
            "ImageRepositoryType": "ECR",
            "ImageConfiguration": {"Port": "3000", "RuntimeEnvironmentVariables": {"GREETING": '<hello> & "you"', "LANG": "de"}},
        },
        "AuthenticationConfiguration": {"AccessRoleArn": "arn:aws:iam::123456789012:role/service-role/ecr-access"},
    },
    InstanceConfiguration={"Cpu": "1 vCPU", "Memory": "2 GB"},
    HealthCheckConfiguration={"Protocol": "HTTP", "Path": "/healthz"},
    NetworkConfiguration={"IngressConfiguration": {"IsPubliclyAccessible": False}},
    AutoScalingConfigurationArn=P + "autoscalingconfiguration/high/1",
    ObservabilityConfiguration={"ObservabilityEnabled": True, "ObservabilityConfigurationArn": tracing},
    Tags=[{"Key": "team", "Value": "blue"}],
)["Service"]
arn = service["ServiceArn"]
assert service["AutoScalingConfigurationSummary"]["AutoScalingConfigurationArn"] == asc["AutoScalingConfigurationArn"]
service = c.describe_service(ServiceArn=arn)["Service"]
assert service["Status"] == "RUNNING" and service["CreatedAt"].year == 2026
assert c.list_services(MaxResults=20)["ServiceSummaryList"][0]["ServiceName"] == "web-app"
if current:
    assert c.list_services_for_auto_scaling_configuration(AutoScalingConfigurationArn=asc["AutoScalingConfigurationArn"])["ServiceArnList"] == [arn]
updated = c.update_service(
    ServiceArn=arn,
    SourceConfiguration=service["SourceConfiguration"],
    InstanceConfiguration={"Memory": "4 GB"},
    NetworkConfiguration={"EgressConfiguration": {"EgressType": "VPC", "VpcConnectorArn": connector["VpcConnectorArn"]}},
)["Service"]
assert updated["SourceConfiguration"] == service["SourceConfiguration"] and updated["InstanceConfiguration"]["Memory"] == "4096"
deployment = c.start_deployment(ServiceArn=arn)["OperationId"]
assert "OperationId" in c.pause_service(ServiceArn=arn)
c.resume_service(ServiceArn=arn)
operations = c.list_operations(ServiceArn=arn, MaxResults=2)
assert operations["OperationSummaryList"][0]["Type"] == "RESUME_SERVICE"
operations = c.list_operations(ServiceArn=arn, MaxResults=2, NextToken=operations["NextToken"])
assert operations["OperationSummaryList"][0]["Id"] == deployment

c.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "red"}, {"Key": "empty", "Value": ""}])
c.untag_resource(ResourceArn=arn, TagKeys=["empty"])
assert c.list_tags_for_resource(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "red"}]

ingress = c.create_vpc_ingress_connection(
    ServiceArn=arn, VpcIngressConnectionName="ingress", IngressVpcConfiguration={"VpcId": "vpc-1", "VpcEndpointId": "vpce-1"}
)["VpcIngressConnection"]["VpcIngressConnectionArn"]
assert c.describe_vpc_ingress_connection(VpcIngressConnectionArn=ingress)["VpcIngressConnection"]["Status"] == "AVAILABLE"
assert len(c.list_vpc_ingress_connections(Filter={"ServiceArn": arn})["VpcIngressConnectionSummaryList"]) == 1
c.update_vpc_ingress_connection(
    VpcIngressConnectionArn=ingress, IngressVpcConfiguration={"VpcId": "vpc-1", "VpcEndpointId": "vpce-2"}
)
domain = c.associate_custom_domain(ServiceArn=arn, DomainName="shop.test", EnableWWWSubdomain=False)["CustomDomain"]
assert domain["Status"] == "creating" and "CertificateValidationRecords" not in domain
domains = c.describe_custom_domains(ServiceArn=arn, MaxResults=5)
assert len(domains["CustomDomains"][0]["CertificateValidationRecords"]) == 2 and len(domains["VpcDNSTargets"]) == 1
assert c.disassociate_custom_domain(ServiceArn=arn, DomainName="shop.test")["CustomDomain"]["Status"] == "deleting"

assert c.delete_vpc_ingress_connection(VpcIngressConnectionArn=ingress)["VpcIngressConnection"]["Status"] == "PENDING_DELETION"
assert c.delete_service(ServiceArn=arn)["Service"]["Status"] == "OPERATION_IN_PROGRESS"
assert c.delete_vpc_connector(VpcConnectorArn=connector["VpcConnectorArn"])["VpcConnector"]["Status"] == "INACTIVE"
assert c.delete_observability_configuration(ObservabilityConfigurationArn=tracing)["ObservabilityConfiguration"]["Status"] == "INACTIVE"
assert c.delete_connection(ConnectionArn=connection["ConnectionArn"])["Connection"]["Status"] == "DELETED"
everything = {"DeleteAllRevisions": True} if current else {}
gone = c.delete_auto_scaling_configuration(AutoScalingConfigurationArn=P + "autoscalingconfiguration/high", **everything)
assert gone["AutoScalingConfiguration"]["Status"] == "inactive"
lacks = "" if current else " lacks ListServicesForAutoScalingConfiguration UpdateDefaultAutoScalingConfiguration"
print("boto3 " + boto3.__version__ + lacks)
