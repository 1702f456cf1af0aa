"""Does with the API what its event says, with an unmodified boto3 that is told nothing."""

import json
import os
import time

import boto3
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError


def handle(event, context):
    if "requestContext" in event:  # it was called by its URL
        event = json.loads(event["body"])
    try:
        return operations[event["do"]](event, context)
    except ClientError as e:
        return {"code": e.response["Error"]["Code"], "message": e.response["Error"]["Message"],
                "status": e.response["ResponseMetadata"]["HTTPStatusCode"]}


def invoke(event, context, **keys):
    out = boto3.client("lambda", **keys).invoke(
        FunctionName=event["function"], InvocationType=event.get("type", "RequestResponse"),
        Payload=json.dumps(event.get("event", {})))
    return {"status": out["StatusCode"], "payload": out["Payload"].read().decode(), "error": out.get("FunctionError", "")}


def stolen(event, context):
    keys = event["keys"]
    return invoke(event, context, aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
                  aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"], aws_session_token=keys["AWS_SESSION_TOKEN"])


def stream(event, context):
    out = boto3.client("lambda").invoke_with_response_stream(FunctionName=event["function"], Payload=json.dumps(event["event"]))
    return {"payload": b"".join(e["PayloadChunk"]["Payload"] for e in out["EventStream"] if "PayloadChunk" in e).decode()}


def by_url(event, context):
    url = os.environ["AWS_ENDPOINT_URL_LAMBDA"] + "/fn/" + event["function"] + "/a/path?n=1"
    request = AWSRequest("POST", url, data=json.dumps(event["event"]), headers={"Content-Type": "application/json"})
    if not event.get("unsigned"):
        session = boto3.Session()
        SigV4Auth(session.get_credentials(), "lambda", session.region_name).add_auth(request)
    out = requests.post(url, data=request.data, headers=dict(request.headers))
    return {"status": out.status_code, "payload": out.text}


def turn(event, context):
    """Calls itself by its URL until it may not."""
    out = by_url({"function": event["function"], "event": event}, context)
    return json.loads(out["payload"]) if out["status"] == 200 else out


def create(event, context):
    boto3.client("lambda").create_function(
        FunctionName="another", Runtime="python3.12", Handler="a.b", Role=event["role"], Code={"ZipFile": b"PK"})


def put(event, context):
    logs, group = boto3.client("logs"), context.log_group_name
    logs.create_log_stream(logGroupName=group, logStreamName=event["stream"])
    logs.put_log_events(logGroupName=group, logStreamName=event["stream"],
                        logEvents=[{"timestamp": int(time.time() * 1000), "message": event["message"]}])
    return {}


operations = {
    "echo": lambda event, context: event,
    "who": lambda event, context: boto3.client("sts").get_caller_identity()["Arn"],
    "create": create,
    "code": lambda event, context: boto3.client("lambda").get_function(FunctionName=event["function"])["Code"],
    "logs": lambda event, context: boto3.client("logs").describe_log_groups(),
    "invoke": invoke,
    "as": stolen,
    "stream": stream,
    "put": put,
    "url": by_url,
    "turn": turn,
    "keys": lambda event, context: {n: os.environ[n] for n in (
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_LAMBDA")},
}
