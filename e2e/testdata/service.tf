terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "5.100.0" }
  }
}

variable "endpoint" {}
variable "image" {}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  endpoints {
    apprunner = var.endpoint
  }
}

resource "aws_apprunner_service" "web" {
  service_name = "tf-web"
  source_configuration {
    auto_deployments_enabled = false
    authentication_configuration {
      access_role_arn = "arn:aws:iam::123456789012:role/ecr-access"
    }
    image_repository {
      image_identifier      = var.image
      image_repository_type = "ECR"
      image_configuration {
        port                          = "8080"
        runtime_environment_variables = { VERSION = "tf" }
      }
    }
  }
  health_check_configuration {
    protocol = "HTTP"
    path     = "/"
  }
}

output "url" { value = aws_apprunner_service.web.service_url }
