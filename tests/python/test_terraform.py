"""Terraform with AWS's provider: what it makes it finds again unchanged, changes, and takes away."""

import glob
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import ROLE, unique, zip_of

# Where a provider may lie without a registry: Terraform's own places, and mirrors.
MIRRORS = ["~/.terraform.d/plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/*"]
PROVIDER = "registry.terraform.io/hashicorp/aws"
MIRROR = next((place for pattern in MIRRORS for place in sorted(glob.glob(os.path.expanduser(pattern)))
               if os.path.isdir(os.path.join(place, PROVIDER))), None)

pytestmark = [
    pytest.mark.skipif(not shutil.which("terraform") or not MIRROR, reason="Terraform and AWS's provider are not installed"),
    pytest.mark.skipif(os.environ.get("TEST_LAYOUT") != "one", reason="Terraform asks the same in any layout"),
]

MAIN = """
variable "name" {}
variable "url" {}
variable "changed" { default = false }
provider "aws" {
  region                      = "us-east-1"
  access_key                  = "000000000000"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints {
    sqs    = var.url
    lambda = var.url
    logs   = var.url
  }
}
resource "aws_sqs_queue" "dead" { name = "${var.name}-dead" }
resource "aws_sqs_queue" "jobs" {
  name                       = var.name
  delay_seconds              = var.changed ? 5 : 0
  visibility_timeout_seconds = var.changed ? 60 : 30
  sqs_managed_sse_enabled    = !var.changed
  redrive_policy             = jsonencode({ deadLetterTargetArn = aws_sqs_queue.dead.arn, maxReceiveCount = var.changed ? 7 : 4 })
  tags                       = var.changed ? { b = "2" } : { a = "1", b = "1" }
}
resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url            = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({ redrivePermission = "byQueue", sourceQueueArns = [aws_sqs_queue.jobs.arn] })
}
resource "aws_sqs_queue_policy" "jobs" {
  queue_url = aws_sqs_queue.jobs.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [{
    Sid = var.changed ? "two" : "one", Effect = "Allow", Principal = { Service = "sns.amazonaws.com" }, Action = "sqs:SendMessage"
    Resource = aws_sqs_queue.jobs.arn
  }] })
}
resource "aws_sqs_queue" "fifo" {
  name                        = "${var.name}.fifo"
  fifo_queue                  = true
  content_based_deduplication = !var.changed
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = var.changed ? "perQueue" : "perMessageGroupId"
}
resource "aws_cloudwatch_log_group" "worker" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.changed ? 30 : 7
}
resource "aws_lambda_layer_version" "shared" {
  layer_name          = var.name
  filename            = "layer.zip"
  compatible_runtimes = ["python3.12"]
}
resource "aws_lambda_function" "worker" {
  function_name    = var.name
  role             = "%s"
  filename         = "function.zip"
  source_code_hash = filebase64sha256("function.zip")
  handler          = "index.handler"
  runtime          = "python3.12"
  timeout          = var.changed ? 10 : 5
  memory_size      = var.changed ? 256 : 128
  publish          = true
  layers           = [aws_lambda_layer_version.shared.arn]
  environment { variables = { STAGE = var.changed ? "two" : "one" } }
  logging_config {
    log_format            = "JSON"
    application_log_level = var.changed ? "DEBUG" : "WARN"
    system_log_level      = "INFO"
    log_group             = aws_cloudwatch_log_group.worker.name
  }
  tags = { stage = var.changed ? "two" : "one" }
}
resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.worker.function_name
  function_version = aws_lambda_function.worker.version
}
resource "aws_lambda_function_url" "live" {
  function_name      = aws_lambda_function.worker.function_name
  qualifier          = aws_lambda_alias.live.name
  authorization_type = "AWS_IAM"
}
resource "aws_lambda_event_source_mapping" "jobs" {
  event_source_arn        = aws_sqs_queue.jobs.arn
  function_name           = aws_lambda_alias.live.arn
  batch_size              = var.changed ? 5 : 10
  function_response_types = ["ReportBatchItemFailures"]
}
output "answer" { value = data.aws_lambda_invocation.worker.result }
data "aws_lambda_invocation" "worker" {
  function_name = aws_lambda_function.worker.function_name
  qualifier     = aws_lambda_alias.live.name
  input         = jsonencode({ n = 1 })
}
""" % ROLE


def test_what_terraform_makes_settles_changes_and_goes(url, lam, sqs, tmp_path):
    name = unique("terraform")
    source = "import os, shared\ndef handler(event, context):\n    return [os.environ['STAGE'], shared.value, event.get('n')]\n"
    (tmp_path / "main.tf").write_text(MAIN)
    (tmp_path / "function.zip").write_bytes(zip_of({"index.py": source}))
    (tmp_path / "layer.zip").write_bytes(zip_of({"python/shared.py": "value = 'lent'\n"}))

    def terraform(verb, *arguments, expected=0):
        settings = {"TF_VAR_name": name, "TF_VAR_url": url, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
        environment = {**{key: value for key, value in os.environ.items() if not key.startswith("TF_CLI_CONFIG")}, **settings}
        run = subprocess.run(["terraform", verb, "-no-color", *arguments], cwd=tmp_path, env=environment, text=True, capture_output=True)
        assert run.returncode == expected, run.stdout + run.stderr
        return run.stdout

    terraform("init", f"-plugin-dir={pathlib.Path(MIRROR)}")
    try:
        for stage, changed in (("one", "false"), ("two", "true")):
            terraform("apply", "-auto-approve", f"-var=changed={changed}")
            assert json.loads(json.loads(terraform("output", "-json", "answer"))) == [stage, "lent", 1]
        # 2 would mean that something is to be changed.
        terraform("plan", "-detailed-exitcode", "-var=changed=true")
        assert lam.get_function(FunctionName=name)["Tags"] == {"stage": "two"}
    finally:
        terraform("destroy", "-auto-approve", "-refresh=false")
    assert "QueueUrls" not in sqs.list_queues(QueueNamePrefix=name)
    with pytest.raises(lam.exceptions.ResourceNotFoundException):
        lam.get_function(FunctionName=name)
