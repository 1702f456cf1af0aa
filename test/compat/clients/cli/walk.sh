#!/usr/bin/env bash
# Takes a function through its life with the AWS CLI, version 2. Arguments: code zip, layer zip.
set -euo pipefail
name=life-cli
. "$(dirname "$0")/lib.sh"
# The CLI prints its own summary; the payload goes to a file.
answer() { aws lambda invoke --function-name "$name" --cli-binary-format raw-in-base64-out "$@" "$dir/out" >"$dir/summary"; }
field() { python3 -c 'import json,sys; v=json.load(open(sys.argv[1]))
for k in sys.argv[2].split("."): v=v[k]
print(v)' "$dir/out" "$1"; }

state=$(aws lambda create-function --function-name "$name" --runtime python3.11 --handler app.handler \
  --role arn:aws:iam::000000000000:role/test --zip-file "fileb://$1" \
  --environment 'Variables={GREETING=hello}' --tags stage=test --query State --output text)
is "$state" Pending
aws lambda wait function-active-v2 --function-name "$name"
answer --payload '{"n": 1}' --log-type Tail
is "$(field event.n)" 1
is "$(field greeting)" hello
python3 - "$dir/summary" <<'P'
import base64, json, sys
summary = json.load(open(sys.argv[1]))
assert summary["StatusCode"] == 200 and summary["ExecutedVersion"] == "$LATEST", summary
assert "REPORT RequestId" in base64.b64decode(summary["LogResult"]).decode(), summary
P

aws lambda update-function-configuration --function-name "$name" --environment 'Variables={GREETING=servus}' >/dev/null
aws lambda wait function-updated-v2 --function-name "$name"
answer --payload '{}'
is "$(field greeting)" servus

is "$(aws lambda publish-version --function-name "$name" --query Version --output text)" 1
aws lambda update-function-code --function-name "$name" --zip-file "fileb://$1" >/dev/null
aws lambda wait function-updated-v2 --function-name "$name"
aws lambda create-alias --function-name "$name" --name live --function-version 1 >/dev/null
answer --qualifier live --payload '{}'
is "$(field version)" 1

layer=$(aws lambda publish-layer-version --layer-name words-cli --zip-file "fileb://$2" --query LayerVersionArn --output text)
aws lambda update-function-configuration --function-name "$name" --layers "$layer" >/dev/null
aws lambda wait function-updated-v2 --function-name "$name"
answer --payload '{}'
is "$(field layer)" "from the layer"

arn=$(aws lambda get-function --function-name "$name" --query Configuration.FunctionArn --output text)
aws lambda tag-resource --resource "$arn" --tags team=blue
is "$(aws lambda list-tags --resource "$arn" --query Tags.team --output text)" blue

is "$(aws sts get-caller-identity --query Account --output text)" 000000000000

# The log is on disk within a second.
for try in 1 2 3 4 5 6 7 8 9 10; do
  aws logs tail "/aws/lambda/$name" --since 10m >"$dir/tail"
  grep -q "REPORT RequestId" "$dir/tail" && break
  [ "$try" -lt 10 ] || { echo "aws logs tail shows no REPORT" >&2; exit 1; }
  sleep 0.5
done
stream=$(aws logs describe-log-streams --log-group-name "/aws/lambda/$name" --query 'logStreams[0].logStreamName' --output text)
aws logs get-log-events --log-group-name "/aws/lambda/$name" --log-stream-name "$stream" --query 'events[].message' --output text >"$dir/events"
grep -q "START RequestId" "$dir/events"
aws logs filter-log-events --log-group-name "/aws/lambda/$name" --filter-pattern REPORT --query 'events[].message' --output text >"$dir/filtered"
grep -q "REPORT RequestId" "$dir/filtered"
if grep -q "START RequestId" "$dir/filtered"; then echo "the filter lets START through" >&2; exit 1; fi

aws lambda delete-function --function-name "$name"
if aws lambda get-function --function-name "$name" 2>"$dir/err"; then echo "still there" >&2; exit 1; fi
grep -q "ResourceNotFoundException.*Function not found" "$dir/err"
echo ok
