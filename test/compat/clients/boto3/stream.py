"""Reads a streamed answer and manages and calls a function URL with boto3."""
import http.client
import time
from urllib.parse import urlsplit

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

client = boto3.client("lambda")
NAME = "flow"


def stream():
    out = client.invoke_with_response_stream(FunctionName=NAME, Payload=b'{"n":1}', LogType="Tail")
    assert out["ExecutedVersion"] == "$LATEST", out
    began, body, last = None, b"", None
    for event in out["EventStream"]:
        if "PayloadChunk" in event:
            began = began or time.monotonic()
            body += event["PayloadChunk"]["Payload"]
        else:
            last = event["InvokeComplete"]
    assert body.endswith(b"first\nsecond\n"), body
    assert time.monotonic() - began > 0.7, "the first part came with the second"
    assert "ErrorCode" not in last and last["LogResult"], last
    try:
        client.invoke_with_response_stream(FunctionName="missing", Payload=b"{}")
        raise AssertionError("a missing function streams")
    except client.exceptions.ResourceNotFoundException:
        pass


def call(address, signed):
    """Calls a URL; its host name need not be known to a resolver."""
    parts = urlsplit(address)
    request = AWSRequest("POST", address, data=b"{}", headers={"Host": parts.netloc, "Content-Type": "application/json"})
    if signed:
        SigV4Auth(boto3.Session().get_credentials(), "lambda", boto3.Session().region_name).add_auth(request)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=30)
    connection.request("POST", parts.path or "/", body=b"{}", headers=dict(request.headers.items()))
    answer = connection.getresponse()
    return answer.status, answer.getheader("content-type"), answer.read()


def url():
    made = client.create_function_url_config(FunctionName=NAME, AuthType="AWS_IAM", InvokeMode="RESPONSE_STREAM",
                                             Cors={"AllowOrigins": ["https://a.example"], "AllowMethods": ["GET"], "MaxAge": 5})
    got = client.get_function_url_config(FunctionName=NAME)
    assert got["FunctionUrl"] == made["FunctionUrl"] and got["InvokeMode"] == "RESPONSE_STREAM", got
    assert got["Cors"]["MaxAge"] == 5, got
    assert call(got["FunctionUrl"], signed=False)[0] == 403
    assert call(got["FunctionUrl"], signed=True) == (203, "text/plain", b"first\nsecond\n")
    client.update_function_url_config(FunctionName=NAME, AuthType="NONE", InvokeMode="BUFFERED")
    assert call(got["FunctionUrl"], signed=False)[0] == 403
    client.add_permission(FunctionName=NAME, StatementId="open", Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE")
    assert call(got["FunctionUrl"], signed=False) == (203, "text/plain", b"first\nsecond\n")
    assert len(client.list_function_url_configs(FunctionName=NAME)["FunctionUrlConfigs"]) == 1
    client.delete_function_url_config(FunctionName=NAME)
    assert call(got["FunctionUrl"], signed=False)[0] == 404


stream()
url()
print("ok")
