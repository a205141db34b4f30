"""Walks a service through its life with boto3: boto3_walk.py ENDPOINT IMAGE."""
import sys
import time

import boto3
from botocore.exceptions import ClientError

endpoint, image = sys.argv[1:]
client = boto3.client("apprunner", endpoint_url=endpoint)


def settled(arn):
    limit = time.monotonic() + 90
    while time.monotonic() < limit:
        service = client.describe_service(ServiceArn=arn)["Service"]
        if service["Status"] != "OPERATION_IN_PROGRESS":
            return service
        time.sleep(0.05)
    raise SystemExit("the operation did not end")


source = {
    "AuthenticationConfiguration": {"AccessRoleArn": "arn:aws:iam::123456789012:role/ecr-access"},
    "ImageRepository": {"ImageIdentifier": image, "ImageRepositoryType": "ECR"},
}
created = client.create_service(ServiceName="boto-web", SourceConfiguration=source)
arn = created["Service"]["ServiceArn"]
service = settled(arn)
assert service["Status"] == "RUNNING", service
assert service["HealthCheckConfiguration"]["Protocol"] == "TCP", service
assert service["NetworkConfiguration"]["IngressConfiguration"]["IsPubliclyAccessible"] is True, service
assert service["CreatedAt"].tzinfo is not None, service

try:
    client.create_service(ServiceName="boto-web", SourceConfiguration=source)
    raise SystemExit("a duplicate name was accepted")
except client.exceptions.InvalidRequestException as e:
    assert "Service with the provided name already exists: boto-web" in str(e), e
try:
    client.describe_service(ServiceArn=arn[:-4] + "0000")
    raise SystemExit("a foreign ARN was found")
except client.exceptions.ResourceNotFoundException:
    pass
try:
    boto3.client("apprunner", endpoint_url=endpoint, aws_secret_access_key="wrong" * 8,
                 aws_access_key_id=client._request_signer._credentials.access_key).list_services()
    raise SystemExit("a wrong secret was accepted")
except ClientError as e:
    assert e.response["Error"]["Code"] == "InvalidSignatureException", e

operation = client.delete_service(ServiceArn=arn)["OperationId"]
assert settled(arn)["Status"] == "DELETED"
newest = client.list_operations(ServiceArn=arn)["OperationSummaryList"][0]
assert newest["Id"] == operation and newest["Status"] == "SUCCEEDED", newest
print("walked")
