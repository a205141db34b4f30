#!/usr/bin/env bash
# Goes through all actions of the API with the AWS CLI, for TestClients. Exit status 77: no CLI.
set -euo pipefail
command -v aws >/dev/null || exit 77

# The option, not the variable alone: AWS CLI before 2.13 does not read it.
ar() { aws --endpoint-url "$AWS_ENDPOINT_URL" apprunner "$@" --output text; }
# AWS CLI before 2.13.20 lacks two actions and a member.
lacks="" all=--delete-all-revisions cpu=512
case "$(aws apprunner update-default-auto-scaling-configuration 2>&1 || true)" in
*"nvalid choice"*) lacks=" lacks ListServicesForAutoScalingConfiguration UpdateDefaultAutoScalingConfiguration" all="" cpu="0.5 vCPU" ;;
esac
prefix=arn:aws:apprunner:us-east-1:123456789012

[ "$(aws --endpoint-url "$AWS_ENDPOINT_URL" sts get-caller-identity --query Account --output text)" = 123456789012 ]

asc=$(ar create-auto-scaling-configuration --auto-scaling-configuration-name high --max-concurrency 50 --min-size 2 --max-size 10 \
	--tags Key=team,Value=blue --query AutoScalingConfiguration.AutoScalingConfigurationArn)
ar describe-auto-scaling-configuration --auto-scaling-configuration-arn "$prefix:autoscalingconfiguration/high" >/dev/null
ar list-auto-scaling-configurations --no-latest-only >/dev/null
[ -n "$lacks" ] || ar update-default-auto-scaling-configuration --auto-scaling-configuration-arn "$prefix:autoscalingconfiguration/DefaultConfiguration/1" >/dev/null

tracing=$(ar create-observability-configuration --observability-configuration-name tracing --trace-configuration Vendor=AWSXRAY \
	--query ObservabilityConfiguration.ObservabilityConfigurationArn)
ar describe-observability-configuration --observability-configuration-arn "$tracing" >/dev/null
ar list-observability-configurations --latest-only >/dev/null

connection=$(ar create-connection --connection-name github --provider-type GITHUB --query Connection.ConnectionArn)
[ "$(ar list-connections --connection-name github --query 'ConnectionSummaryList[0].Status')" = PENDING_HANDSHAKE ]

connector=$(ar create-vpc-connector --vpc-connector-name connector --subnets subnet-1 subnet-2 --security-groups sg-1 \
	--query VpcConnector.VpcConnectorArn)
ar describe-vpc-connector --vpc-connector-arn "$connector" >/dev/null
[ "$(ar list-vpc-connectors --query "VpcConnectors[?Status=='ACTIVE'].VpcConnectorArn")" = "$connector" ]

ar create-service --service-name web-app --instance-configuration "Cpu=$cpu,Memory=1024" \
	--network-configuration '{"IngressConfiguration":{"IsPubliclyAccessible":false}}' \
	--source-configuration '{"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/web:v1","ImageRepositoryType":"ECR_PUBLIC","ImageConfiguration":{"RuntimeEnvironmentVariables":{"A":"1"}}}}' >/dev/null
arn=$(ar list-services --query "ServiceSummaryList[?ServiceName=='web-app'].ServiceArn | [0]")
[ "$(ar describe-service --service-arn "$arn" --query Service.Status)" = RUNNING ]
[ -n "$lacks" ] || ar list-services-for-auto-scaling-configuration --auto-scaling-configuration-arn "$prefix:autoscalingconfiguration/DefaultConfiguration" >/dev/null
[ "$(ar update-service --service-arn "$arn" --auto-scaling-configuration-arn "$asc" \
	--source-configuration 'ImageRepository={ImageIdentifier=public.ecr.aws/x/web:v2,ImageRepositoryType=ECR_PUBLIC}' \
	--query Service.SourceConfiguration.ImageRepository.ImageConfiguration.RuntimeEnvironmentVariables.A)" = 1 ]
ar start-deployment --service-arn "$arn" >/dev/null
ar pause-service --service-arn "$arn" >/dev/null
ar resume-service --service-arn "$arn" >/dev/null
[ "$(ar list-operations --service-arn "$arn" --max-results 1 --query 'OperationSummaryList[0].Type')" = RESUME_SERVICE ]

ar tag-resource --resource-arn "$arn" --tags Key=team,Value=red Key=empty,Value= >/dev/null
ar untag-resource --resource-arn "$arn" --tag-keys empty >/dev/null
[ "$(ar list-tags-for-resource --resource-arn "$arn" --query 'Tags[0].Value')" = red ]

ingress=$(ar create-vpc-ingress-connection --service-arn "$arn" --vpc-ingress-connection-name ingress \
	--ingress-vpc-configuration VpcId=vpc-1,VpcEndpointId=vpce-1 --query VpcIngressConnection.VpcIngressConnectionArn)
[ "$(ar describe-vpc-ingress-connection --vpc-ingress-connection-arn "$ingress" --query VpcIngressConnection.Status)" = AVAILABLE ]
ar list-vpc-ingress-connections --filter "ServiceArn=$arn" >/dev/null
ar update-vpc-ingress-connection --vpc-ingress-connection-arn "$ingress" --ingress-vpc-configuration VpcId=vpc-1,VpcEndpointId=vpce-2 >/dev/null
ar associate-custom-domain --service-arn "$arn" --domain-name shop.test --enable-www-subdomain >/dev/null
[ "$(ar describe-custom-domains --service-arn "$arn" --query 'CustomDomains[0].Status')" = pending_certificate_dns_validation ]
ar disassociate-custom-domain --service-arn "$arn" --domain-name shop.test >/dev/null

ar delete-vpc-ingress-connection --vpc-ingress-connection-arn "$ingress" >/dev/null
ar delete-service --service-arn "$arn" >/dev/null
ar delete-vpc-connector --vpc-connector-arn "$connector" >/dev/null
ar delete-observability-configuration --observability-configuration-arn "$tracing" >/dev/null
ar delete-connection --connection-arn "$connection" >/dev/null
[ "$(ar delete-auto-scaling-configuration --auto-scaling-configuration-arn "$prefix:autoscalingconfiguration/high" $all \
	--query AutoScalingConfiguration.Status)" = inactive ]
echo "the $(aws --version | cut -d' ' -f1 | tr / ' ')$lacks"
