"""Provisions a function and turns SnapStart on with boto3. Arguments: code zip, layer zip."""

import base64
import sys
import time

import boto3
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::000000000000:role/test"
NAME = "provision-boto3"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:" + NAME

code = open(sys.argv[1], "rb").read()
lam = boto3.client("lambda")


def expect(exception, text, call, **kwargs):
    try:
        call(**kwargs)
    except exception as err:
        assert isinstance(err, ClientError) and text in str(err), err
        return
    raise AssertionError(f"{call} did not raise {exception}")


def ready(qualifier):
    for _ in range(300):
        got = lam.get_provisioned_concurrency_config(FunctionName=NAME, Qualifier=qualifier)
        assert got["Status"] != "FAILED", got
        if got["Status"] == "READY":
            return got
        time.sleep(0.05)
    raise AssertionError(got)


lam.create_function(FunctionName=NAME, Runtime="python3.11", Handler="app.handler", Role=ROLE, Code={"ZipFile": code},
                    Environment={"Variables": {"GREETING": "hello"}}, Publish=True)
lam.get_waiter("published_version_active").wait(FunctionName=NAME, Qualifier="1")
lam.create_alias(FunctionName=NAME, Name="live", FunctionVersion="1")

put = lam.put_provisioned_concurrency_config
invalid, conflict = lam.exceptions.InvalidParameterValueException, lam.exceptions.ResourceConflictException
expect(invalid, "unpublished function versions", put, FunctionName=NAME, Qualifier="$LATEST", ProvisionedConcurrentExecutions=1)
expect(lam.exceptions.ResourceNotFoundException, "Cannot find alias arn", put, FunctionName=NAME, Qualifier="none", ProvisionedConcurrentExecutions=1)
expect(lam.exceptions.ProvisionedConcurrencyConfigNotFoundException, "No Provisioned Concurrency Config found",
       lam.get_provisioned_concurrency_config, FunctionName=NAME, Qualifier="live")
first = put(FunctionName=NAME, Qualifier="live", ProvisionedConcurrentExecutions=2)
assert first["ResponseMetadata"]["HTTPStatusCode"] == 202 and first["Status"] == "IN_PROGRESS", first
assert first["RequestedProvisionedConcurrentExecutions"] == 2 and first["AllocatedProvisionedConcurrentExecutions"] == 0, first
expect(conflict, "Version is pointed by a Provisioned Concurrency alias", put, FunctionName=NAME, Qualifier="1", ProvisionedConcurrentExecutions=1)
got = ready("live")
assert got["AvailableProvisionedConcurrentExecutions"] == 2 == got["AllocatedProvisionedConcurrentExecutions"], got

out = lam.invoke(FunctionName=NAME, Qualifier="live", Payload=b"{}", LogType="Tail")
tail = base64.b64decode(out["LogResult"]).decode()
assert "FunctionError" not in out and "REPORT" in tail, tail

pages = lam.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName=NAME, PaginationConfig={"PageSize": 1})
items = [item for page in pages for item in page["ProvisionedConcurrencyConfigs"]]
assert [item["FunctionArn"] for item in items] == [ARN + ":live"], items

lam.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=3)
expect(invalid, "greater than the reservedConcurrentExecution", put, FunctionName=NAME, Qualifier="live", ProvisionedConcurrentExecutions=4)
expect(invalid, "lower than function's total provisioned concurrency [2]", lam.put_function_concurrency, FunctionName=NAME, ReservedConcurrentExecutions=1)
lam.delete_function_concurrency(FunctionName=NAME)

lam.delete_alias(FunctionName=NAME, Name="live")
assert lam.list_provisioned_concurrency_configs(FunctionName=NAME)["ProvisionedConcurrencyConfigs"] == []
put(FunctionName=NAME, Qualifier="1", ProvisionedConcurrentExecutions=1)
ready("1")
lam.delete_provisioned_concurrency_config(FunctionName=NAME, Qualifier="1")

# SnapStart: for runtimes that have it, and not together with the other.
expect(invalid, "python3.11 is not supported for SnapStart enabled functions", lam.update_function_configuration,
       FunctionName=NAME, SnapStart={"ApplyOn": "PublishedVersions"})
try:
    made = lam.update_function_configuration(FunctionName=NAME, Runtime="python3.12", SnapStart={"ApplyOn": "PublishedVersions"})
except invalid as err:
    assert "not installed" in str(err), err  # this host has no Python 3.12
else:
    assert made["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}, made
    lam.get_waiter("function_updated_v2").wait(FunctionName=NAME)
    version = lam.publish_version(FunctionName=NAME)
    assert version["SnapStart"]["ApplyOn"] == "PublishedVersions" and version["SnapStart"]["OptimizationStatus"] in ("On", "Off"), version
    expect(invalid, "SnapStart", put, FunctionName=NAME, Qualifier=version["Version"], ProvisionedConcurrentExecutions=1)
    expect(invalid, "SnapStart", lam.update_function_configuration, FunctionName=NAME, EphemeralStorage={"Size": 1024})

lam.delete_function(FunctionName=NAME)
print("ok")
