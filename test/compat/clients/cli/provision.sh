#!/usr/bin/env bash
# Provisions a function with the AWS CLI, version 2. Arguments: code zip, layer zip.
set -euo pipefail
name=provision-cli
. "$(dirname "$0")/lib.sh"
refused() { # TEXT, command
  local text=$1; shift
  if "$@" >"$dir/out" 2>"$dir/err"; then echo "line ${BASH_LINENO[0]}: $* is not refused" >&2; exit 1; fi
  grep -qF "$text" "$dir/err" || { echo "line ${BASH_LINENO[0]}: $(cat "$dir/err")" >&2; exit 1; }
}

aws lambda create-function --function-name "$name" --runtime python3.11 --handler app.handler --publish \
  --role arn:aws:iam::000000000000:role/test --zip-file "fileb://$1" --environment 'Variables={GREETING=hello}' >/dev/null
aws lambda wait published-version-active --function-name "$name" --qualifier 1

put() { aws lambda put-provisioned-concurrency-config --function-name "$name" --qualifier "$1" --provisioned-concurrent-executions "$2" --query "$3" --output text; }
refused "(InvalidParameterValueException)" put '$LATEST' 1 Status
refused "(ResourceNotFoundException)" put 2 1 Status
refused "ProvisionedConcurrentExecutions" put 1 0 Status
is "$(put 1 1 Status)" IN_PROGRESS
for try in $(seq 60); do
  aws lambda get-provisioned-concurrency-config --function-name "$name" --qualifier 1 \
    --query '[Status,RequestedProvisionedConcurrentExecutions,AllocatedProvisionedConcurrentExecutions,AvailableProvisionedConcurrentExecutions]' --output text >"$dir/state"
  grep -q READY "$dir/state" && break
  [ "$try" -lt 60 ] || { cat "$dir/state" >&2; exit 1; }
  sleep 0.1
done
is "$(cat "$dir/state")" "READY	1	1	1"
is "$(aws lambda list-provisioned-concurrency-configs --function-name "$name" --query 'ProvisionedConcurrencyConfigs[].FunctionArn' --output text)" \
  "arn:aws:lambda:us-east-1:000000000000:function:$name:1"
aws lambda delete-provisioned-concurrency-config --function-name "$name" --qualifier 1
refused "(ProvisionedConcurrencyConfigNotFoundException)" aws lambda get-provisioned-concurrency-config --function-name "$name" --qualifier 1
aws lambda delete-function --function-name "$name"
echo ok
