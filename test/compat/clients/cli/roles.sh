#!/usr/bin/env bash
# Makes a role and a function that has it with the AWS CLI, version 2. Argument: code zip.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
trust='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
basic=arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole

role=$(aws iam create-role --role-name cli --assume-role-policy-document "$trust" --query Role.Arn --output text)
is "$role" arn:aws:iam::000000000000:role/cli
aws iam attach-role-policy --role-name cli --policy-arn "$basic"
is "$(aws iam get-role --role-name cli --query Role.AssumeRolePolicyDocument.Statement[0].Principal.Service --output text)" lambda.amazonaws.com
is "$(aws iam list-attached-role-policies --role-name cli --query AttachedPolicies[].PolicyArn --output text)" "$basic"
is "$(aws lambda create-function --function-name cli --runtime python3.11 --handler app.handler --role "$role" --zip-file "fileb://$1" --query Role --output text)" "$role"
if aws iam delete-role --role-name cli 2>"$dir/err"; then exit 1; fi
grep -q DeleteConflict "$dir/err"
aws iam detach-role-policy --role-name cli --policy-arn "$basic"
aws iam delete-role --role-name cli
echo ok
