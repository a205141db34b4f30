# Services from source code, configured in the repository and by the API.
variable "endpoint" { type = string }
variable "repository" { type = string }

terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "5.100.0" }
  }
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints { apprunner = var.endpoint }
}

resource "aws_apprunner_service" "by_file" {
  service_name = "tf-by-file"
  source_configuration {
    auto_deployments_enabled = true
    code_repository {
      repository_url = var.repository
      source_code_version {
        type  = "BRANCH"
        value = "main"
      }
      code_configuration { configuration_source = "REPOSITORY" }
    }
  }
}

resource "aws_apprunner_service" "by_api" {
  service_name = "tf-by-api"
  source_configuration {
    auto_deployments_enabled = false
    code_repository {
      repository_url = var.repository
      source_code_version {
        type  = "BRANCH"
        value = "main"
      }
      code_configuration {
        configuration_source = "API"
        code_configuration_values {
          runtime       = "NODEJS_22"
          build_command = "true"
          start_command = "node server.js"
          port          = "8000"
        }
      }
    }
  }
}
