# Every aws_apprunner_* resource and the data source, for TestTerraform. There are no skip flags: the
# provider asks STS who it is.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {}

variable "memory" { default = "2048" }
variable "greeting" { default = "hello" }
variable "concurrency" { default = 50 }
variable "team" { default = "blue" }

# The default cannot be deleted: name another one before that.
variable "restore" { default = false }

resource "aws_apprunner_auto_scaling_configuration_version" "high" {
  auto_scaling_configuration_name = "high"
  max_concurrency                 = var.concurrency
  min_size                        = 1
  max_size                        = 5
  tags                            = { team = var.team }
  lifecycle { create_before_destroy = true }
}

resource "aws_apprunner_auto_scaling_configuration_version" "default" {
  auto_scaling_configuration_name = "standard"
}

resource "aws_apprunner_default_auto_scaling_configuration_version" "default" {
  auto_scaling_configuration_arn = (var.restore
    ? "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration/1/00000000000000000000000000000001"
  : aws_apprunner_auto_scaling_configuration_version.default.arn)
  # Services made after this would use it, and it could not be deleted while they are there.
  depends_on = [aws_apprunner_service.plain, aws_apprunner_service.internal, aws_apprunner_service.code]
}

resource "aws_apprunner_observability_configuration" "tracing" {
  observability_configuration_name = "tracing"
  trace_configuration { vendor = "AWSXRAY" }
  tags = { team = var.team }
}

resource "aws_apprunner_connection" "github" {
  connection_name = "github"
  provider_type   = "GITHUB"
  tags            = { team = var.team }
}

resource "aws_apprunner_vpc_connector" "private" {
  vpc_connector_name = "private"
  subnets            = ["subnet-1", "subnet-2"]
  security_groups    = ["sg-1"]
  tags               = { team = var.team }
}

resource "aws_apprunner_service" "plain" {
  service_name = "plain"
  source_configuration {
    auto_deployments_enabled = false
    image_repository {
      image_identifier      = "public.ecr.aws/x/plain:1"
      image_repository_type = "ECR_PUBLIC"
      image_configuration { port = "8080" }
    }
  }
}

resource "aws_apprunner_service" "web" {
  service_name                   = "web-app"
  auto_scaling_configuration_arn = aws_apprunner_auto_scaling_configuration_version.high.arn
  source_configuration {
    authentication_configuration { access_role_arn = "arn:aws:iam::123456789012:role/ecr" }
    image_repository {
      image_identifier      = "123456789012.dkr.ecr.us-east-1.amazonaws.com/web:1"
      image_repository_type = "ECR"
      image_configuration {
        port                          = "3000"
        start_command                 = "serve --all"
        runtime_environment_variables = var.greeting == "" ? {} : { GREETING = var.greeting }
        runtime_environment_secrets   = { TOKEN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-a1b2c3" }
      }
    }
  }
  instance_configuration {
    cpu               = "1 vCPU"
    memory            = var.memory
    instance_role_arn = "arn:aws:iam::123456789012:role/app"
  }
  health_check_configuration {
    protocol = "HTTP"
    path     = "/healthz"
  }
  observability_configuration {
    observability_enabled           = true
    observability_configuration_arn = aws_apprunner_observability_configuration.tracing.arn
  }
  tags = { team = var.team }
}

resource "aws_apprunner_service" "internal" {
  service_name = "internal"
  source_configuration {
    auto_deployments_enabled = false
    image_repository {
      image_identifier      = "public.ecr.aws/x/internal:1"
      image_repository_type = "ECR_PUBLIC"
      image_configuration { port = "8080" } # always in the answer: without it every plan has a change
    }
  }
  network_configuration {
    ingress_configuration { is_publicly_accessible = false }
    egress_configuration {
      egress_type       = "VPC"
      vpc_connector_arn = aws_apprunner_vpc_connector.private.arn
    }
  }
}

# Values that apprunner.yaml takes the place of come back as they were sent all the same.
resource "aws_apprunner_service" "code" {
  service_name = "code"
  source_configuration {
    code_repository {
      repository_url = "https://github.com/team/web"
      source_code_version {
        type  = "BRANCH"
        value = "main"
      }
      code_configuration {
        configuration_source = var.greeting == "" ? "REPOSITORY" : "API"
        code_configuration_values {
          runtime                       = "PYTHON_311"
          build_command                 = "pip3 install --target . flask"
          start_command                 = "python3 app.py"
          port                          = "8000"
          runtime_environment_variables = { GREETING = "hello" }
        }
      }
    }
  }
}

resource "aws_apprunner_vpc_ingress_connection" "internal" {
  name        = "internal"
  service_arn = aws_apprunner_service.internal.arn
  ingress_vpc_configuration {
    vpc_id          = "vpc-1"
    vpc_endpoint_id = "vpce-1"
  }
  tags = { team = var.team }
}

resource "aws_apprunner_custom_domain_association" "shop" {
  domain_name = "shop.test"
  service_arn = aws_apprunner_service.web.arn
}

resource "aws_apprunner_deployment" "plain" {
  service_arn = aws_apprunner_service.plain.arn
}

data "aws_apprunner_hosted_zone_id" "here" {}
data "aws_caller_identity" "me" {}

output "account" { value = data.aws_caller_identity.me.account_id }
output "records" { value = length(aws_apprunner_custom_domain_association.shop.certificate_validation_records) }
output "url" { value = aws_apprunner_service.internal.service_url }
