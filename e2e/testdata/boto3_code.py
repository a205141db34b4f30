"""Walks a service from source code, configured by the API, through its life with boto3."""

import sys
import time
import urllib.request

import boto3

endpoint, repository, router = sys.argv[1:]
client = boto3.client("apprunner", endpoint_url=endpoint)


def settled(arn):
    """Returns the service once no operation is in progress."""
    while True:
        service = client.describe_service(ServiceArn=arn)["Service"]
        if service["Status"] != "OPERATION_IN_PROGRESS":
            return service
        time.sleep(0.1)


def answer(service):
    request = urllib.request.Request(router + "/", headers={"Host": service["ServiceUrl"]})
    return urllib.request.urlopen(request, timeout=30).read().decode()


def source(mode):
    return {
        "AutoDeploymentsEnabled": False,
        "CodeRepository": {
            "RepositoryUrl": repository,
            "SourceCodeVersion": {"Type": "BRANCH", "Value": "main"},
            "CodeConfiguration": {
                "ConfigurationSource": "API",
                "CodeConfigurationValues": {
                    "Runtime": "NODEJS_22",
                    "BuildCommand": "test -f server.js",
                    "StartCommand": "node server.js",
                    "Port": "3000",
                    "RuntimeEnvironmentVariables": {"MODE": mode},
                },
            },
        },
    }


created = client.create_service(ServiceName="boto-code", SourceConfiguration=source("one"))
arn = created["Service"]["ServiceArn"]
service = settled(arn)
assert service["Status"] == "RUNNING", service
assert answer(service) == "one", answer(service)

# What Describe shows is what was sent, and UpdateService takes it back as it is.
want = source("one")
want["CodeRepository"]["SourceDirectory"] = "/"
assert service["SourceConfiguration"] == want, service["SourceConfiguration"]
client.update_service(ServiceArn=arn, SourceConfiguration=service["SourceConfiguration"])
service = settled(arn)
assert service["Status"] == "RUNNING" and answer(service) == "one", service

client.update_service(ServiceArn=arn, SourceConfiguration=source("two"))
service = settled(arn)
assert answer(service) == "two", answer(service)

operation = client.start_deployment(ServiceArn=arn)["OperationId"]
settled(arn)
operations = {o["Id"]: o for o in client.list_operations(ServiceArn=arn)["OperationSummaryList"]}
assert operations[operation]["Status"] == "SUCCEEDED", operations
assert len(operations) == 4, operations

client.pause_service(ServiceArn=arn)
assert settled(arn)["Status"] == "PAUSED"
client.resume_service(ServiceArn=arn)
assert answer(settled(arn)) == "two"

client.delete_service(ServiceArn=arn)
assert settled(arn)["Status"] == "DELETED"
print("walked")
