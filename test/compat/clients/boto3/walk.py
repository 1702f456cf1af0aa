"""Takes a function through its life with boto3. Arguments: code zip, layer zip."""

import json
import sys

import boto3
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/test"
NAME = "life-boto3"

code, layer = (open(path, "rb").read() for path in sys.argv[1:3])
lam = boto3.client("lambda")


def invoke(**kwargs):
    out = lam.invoke(FunctionName=NAME, **kwargs)
    assert "FunctionError" not in out, out["Payload"].read()
    return out, json.loads(out["Payload"].read())


def expect(code, call, **kwargs):
    try:
        call(**kwargs)
    except ClientError as err:
        assert err.response["Error"]["Code"] == code, err
        return err
    raise AssertionError(f"{call} did not raise {code}")


created = lam.create_function(
    FunctionName=NAME, Runtime="python3.11", Handler="app.handler", Role=ROLE,
    Code={"ZipFile": code}, Environment={"Variables": {"GREETING": "hello"}}, Tags={"stage": "test"},
)
assert created["State"] == "Pending", created["State"]
lam.get_waiter("function_active_v2").wait(FunctionName=NAME)
expect("ResourceConflictException", lam.create_function, FunctionName=NAME, Runtime="python3.11",
       Handler="app.handler", Role=ROLE, Code={"ZipFile": code})

out, answer = invoke(Payload=b'{"n": 1}', LogType="Tail")
assert answer["event"] == {"n": 1} and answer["greeting"] == "hello", answer
assert out["ExecutedVersion"] == "$LATEST" and "LogResult" in out, out

dry = lam.invoke(FunctionName=NAME, InvocationType="DryRun")
assert dry["StatusCode"] == 204, dry

lam.update_function_configuration(FunctionName=NAME, Environment={"Variables": {"GREETING": "servus"}}, Timeout=5)
lam.get_waiter("function_updated_v2").wait(FunctionName=NAME)
assert invoke(Payload=b"{}")[1]["greeting"] == "servus"

published = lam.publish_version(FunctionName=NAME, Description="first")
assert published["Version"] == "1", published
lam.get_waiter("published_version_active").wait(FunctionName=NAME, Qualifier="1")
lam.update_function_code(FunctionName=NAME, ZipFile=code, Publish=False)
lam.get_waiter("function_updated_v2").wait(FunctionName=NAME)

lam.create_alias(FunctionName=NAME, Name="live", FunctionVersion="1")
out, answer = invoke(Qualifier="live", Payload=b"{}")
assert out["ExecutedVersion"] == "1" and answer["version"] == "1", answer
assert answer["arn"].endswith(":live"), answer
lam.update_alias(FunctionName=NAME, Name="live", Description="what is served")
assert [a["Name"] for a in lam.list_aliases(FunctionName=NAME)["Aliases"]] == ["live"]
assert [v["Version"] for v in lam.list_versions_by_function(FunctionName=NAME)["Versions"]] == ["$LATEST", "1"]

lay = lam.publish_layer_version(LayerName="words-boto3", Content={"ZipFile": layer}, CompatibleRuntimes=["python3.11"])
assert lay["Version"] == 1, lay
assert lam.get_layer_version_by_arn(Arn=lay["LayerVersionArn"])["Version"] == 1
lam.update_function_configuration(FunctionName=NAME, Layers=[lay["LayerVersionArn"]])
lam.get_waiter("function_updated_v2").wait(FunctionName=NAME)
assert invoke(Payload=b"{}")[1]["layer"] == "from the layer"

arn = created["FunctionArn"]
lam.tag_resource(Resource=arn, Tags={"team": "blue"})
assert lam.list_tags(Resource=arn)["Tags"] == {"stage": "test", "team": "blue"}
lam.untag_resource(Resource=arn, TagKeys=["stage"])
assert lam.list_tags(Resource=arn)["Tags"] == {"team": "blue"}

lam.add_permission(FunctionName=NAME, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
assert json.loads(lam.get_policy(FunctionName=NAME)["Policy"])["Statement"][0]["Sid"] == "s3"
lam.remove_permission(FunctionName=NAME, StatementId="s3")
expect("ResourceNotFoundException", lam.get_policy, FunctionName=NAME)

assert any(f["FunctionName"] == NAME for page in lam.get_paginator("list_functions").paginate() for f in page["Functions"])
assert lam.get_account_settings()["AccountUsage"]["FunctionCount"] >= 1
lam.get_function_code_signing_config(FunctionName=NAME)
lam.get_runtime_management_config(FunctionName=NAME)
lam.get_function_recursion_config(FunctionName=NAME)
expect("ResourceNotFoundException", lam.invoke, FunctionName="no-such-function", Payload=b"{}")
expect("InvalidRequestContentException", lam.invoke, FunctionName=NAME, Payload=b"{not json")

lam.delete_alias(FunctionName=NAME, Name="live")
lam.delete_function(FunctionName=NAME)
lam.delete_layer_version(LayerName="words-boto3", VersionNumber=1)
expect("ResourceNotFoundException", lam.get_function, FunctionName=NAME)
print("ok")
