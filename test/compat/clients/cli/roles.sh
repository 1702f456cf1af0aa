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

# As the role: with its keys, and, where the CLI asks this server for them, by a profile.
aws iam update-assume-role-policy --role-name cli --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}]}'
read -r access secret token <<<"$(aws sts assume-role --role-arn "$role" --role-session-name me --query '[Credentials.AccessKeyId,Credentials.SecretAccessKey,Credentials.SessionToken]' --output text)"
mine() { AWS_ACCESS_KEY_ID=$access AWS_SECRET_ACCESS_KEY=$secret AWS_SESSION_TOKEN=$token aws "$@"; }
is "$(mine sts get-caller-identity --query Arn --output text)" arn:aws:sts::000000000000:assumed-role/cli/me
if mine lambda get-function --function-name cli 2>"$dir/err"; then exit 1; fi
grep -q 'AccessDeniedException.*assumed-role/cli/me is not authorized to perform: lambda:GetFunction' "$dir/err"
minor=$("$cli" --version | sed 's|aws-cli/2.\([0-9]*\).*|\1|')
if [ "$minor" -ge 13 ]; then
  printf '[profile cli]\nrole_arn = %s\nsource_profile = default\nrole_session_name = profile\n' "$role" >"$dir/config"
  is "$(AWS_CONFIG_FILE=$dir/config aws --profile cli sts get-caller-identity --query Arn --output text)" arn:aws:sts::000000000000:assumed-role/cli/profile
fi

aws iam detach-role-policy --role-name cli --policy-arn "$basic"
aws iam delete-role --role-name cli
echo ok
