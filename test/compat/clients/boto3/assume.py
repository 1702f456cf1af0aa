"""Assumes a role and works as it, with its keys and by a profile. Arguments: the part
of it, before or after the server's restart, the code zip, and a directory for what is
kept between the parts."""

import json
import os
import sys

import boto3
from refusals import expect

ROOT, FUNCTION = "arn:aws:iam::000000000000:root", "assumed"
ROLE = "arn:aws:iam::000000000000:role/team/deployer"
TRUST = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"},
    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
]}
MAY = ["lambda:GetFunction", "lambda:InvokeFunction", "lambda:CreateFunction", "iam:GetRole", "scheduler:ListSchedules",
       "logs:DescribeLogGroups", "iam:PassRole"]

part, code, kept = sys.argv[1], open(sys.argv[2], "rb").read(), os.path.join(sys.argv[3], "keys.json")
iam, sts = boto3.client("iam"), boto3.client("sts")


def session(keys):
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def document(*actions):
    return json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}})


def create():
    iam.create_role(RoleName="deployer", Path="/team/", AssumeRolePolicyDocument=json.dumps(TRUST))
    iam.put_role_policy(RoleName="deployer", PolicyName="may", PolicyDocument=document(*MAY))
    out = sts.assume_role(RoleArn=ROLE, RoleSessionName="ci", DurationSeconds=900)
    assert out["AssumedRoleUser"]["Arn"] == "arn:aws:sts::000000000000:assumed-role/deployer/ci", out
    assert out["ResponseMetadata"]["HTTPStatusCode"] == 200 and "PackedPolicySize" not in out, out
    keys = {k: out["Credentials"][k] for k in ("AccessKeyId", "SecretAccessKey", "SessionToken")}
    json.dump(keys, open(kept, "w"))
    me = session(keys)
    who = me.client("sts").get_caller_identity()
    assert who["Arn"] == out["AssumedRoleUser"]["Arn"] and who["UserId"] == out["AssumedRoleUser"]["AssumedRoleId"], who
    lam = me.client("lambda")
    lam.create_function(FunctionName=FUNCTION, Runtime="python3.11", Handler="app.handler", Role=ROLE, Code={"ZipFile": code})
    work(me)

    limited = session(sts.assume_role(RoleArn=ROLE, RoleSessionName="limited", Policy=document("lambda:Get*"))["Credentials"]).client("lambda")
    limited.get_function(FunctionName=FUNCTION)
    said = expect("AccessDeniedException", limited.invoke, FunctionName=FUNCTION)
    assert said.endswith("because no session policy allows the lambda:InvokeFunction action"), said

    with open(os.path.join(sys.argv[3], "config"), "w") as f:
        f.write(f"[profile deployer]\nrole_arn = {ROLE}\nsource_profile = default\nrole_session_name = by-profile\nregion = us-east-1\n")
    os.environ["AWS_CONFIG_FILE"] = f.name
    mine = boto3.Session(profile_name="deployer")
    assert mine.client("sts").get_caller_identity()["Arn"].endswith(":assumed-role/deployer/by-profile")
    work(mine)


def work(me):
    """What the role allows, at each door, and what it does not."""
    lam = me.client("lambda")
    lam.get_waiter("function_active_v2").wait(FunctionName=FUNCTION)
    assert lam.invoke(FunctionName=FUNCTION, Payload=b"{}")["StatusCode"] == 200
    assert me.client("iam").get_role(RoleName="deployer")["Role"]["Arn"] == ROLE
    me.client("scheduler").list_schedules()
    me.client("logs").describe_log_groups()
    said = expect("AccessDeniedException", lam.delete_function, FunctionName=FUNCTION)
    assert said.endswith("because no identity-based policy allows the lambda:DeleteFunction action"), said
    expect("AccessDenied", me.client("iam").delete_role, RoleName="deployer")
    expect("AccessDenied", me.client("sts").assume_role, RoleArn=ROLE, RoleSessionName="again")
    expect("AccessDeniedException", me.client("logs").filter_log_events, logGroupName="/aws/lambda/" + FUNCTION)


def go_on():
    me = session(json.load(open(kept)))
    work(me)
    boto3.client("lambda").delete_function(FunctionName=FUNCTION)
    iam.delete_role_policy(RoleName="deployer", PolicyName="may")
    expect("AccessDenied", me.client("iam").get_role, RoleName="deployer")
    iam.delete_role(RoleName="deployer")
    said = expect("InvalidClientTokenId", me.client("sts").get_caller_identity)
    assert said == "The security token included in the request is invalid.", said
    expect("UnrecognizedClientException", me.client("lambda").get_function, FunctionName=FUNCTION)
    expect("AccessDenied", sts.assume_role, RoleArn=ROLE, RoleSessionName="ci")


create() if part == "create" else go_on()
print("ok")
