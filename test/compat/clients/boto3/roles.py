"""Takes a role, its policies and a function through their life in the order of an
infrastructure tool: create, read, read again, change, destroy. Arguments: the part of
it, before or after the server's restart, and the code zip."""

import json
import sys

import boto3
from refusals import expect

ACCOUNT = "000000000000"
ROLE, FUNCTION = "ci-lambda", "with-role"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    "Version": "2012-10-17",
}
INLINE = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::täble/a+b c/*"}}
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
OWN = f"arn:aws:iam::{ACCOUNT}:policy/team/calls"

part, code = sys.argv[1], open(sys.argv[2], "rb").read()
iam, lam, sts = boto3.client("iam"), boto3.client("lambda"), boto3.client("sts")


def allow(*actions):
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})


def read():
    """What a tool compares with its configuration to find that nothing has changed."""
    role = iam.get_role(RoleName=ROLE)["Role"]
    return {
        "role": {k: role.get(k) for k in ("Arn", "Path", "Description", "MaxSessionDuration", "AssumeRolePolicyDocument", "RoleId", "Tags")},
        "inline": iam.list_role_policies(RoleName=ROLE)["PolicyNames"],
        "document": iam.get_role_policy(RoleName=ROLE, PolicyName="reads")["PolicyDocument"],
        "attached": iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"],
        "own": iam.get_policy(PolicyArn=OWN)["Policy"]["DefaultVersionId"],
        "function": lam.get_function(FunctionName=FUNCTION)["Configuration"]["Role"],
    }


def create():
    assert sts.get_caller_identity()["Account"] == ACCOUNT
    assert iam.get_user()["User"]["Arn"].endswith(":root")
    iam.list_roles(MaxItems=1)
    assert iam.list_account_aliases()["AccountAliases"] == []
    expect("NoSuchEntity", iam.get_role, RoleName=ROLE)
    made = iam.create_role(RoleName=ROLE, Path="/", AssumeRolePolicyDocument=json.dumps(TRUST), Tags=[{"Key": "stage", "Value": "test"}])["Role"]
    assert made["AssumeRolePolicyDocument"] == TRUST, made
    iam.get_waiter("role_exists").wait(RoleName=ROLE)
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=BASIC)
    iam.put_role_policy(RoleName=ROLE, PolicyName="reads", PolicyDocument=json.dumps(INLINE))
    iam.create_policy(PolicyName="calls", Path="/team/", PolicyDocument=allow("lambda:InvokeFunction"))
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=OWN)
    lam.create_function(FunctionName=FUNCTION, Runtime="python3.11", Handler="app.handler", Role=made["Arn"], Code={"ZipFile": code})
    lam.get_waiter("function_active_v2").wait(FunctionName=FUNCTION)
    assert lam.invoke(FunctionName=FUNCTION, Payload=b"{}")["StatusCode"] == 200
    expect("EntityAlreadyExists", iam.create_role, RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))
    state = read()
    assert state["role"]["AssumeRolePolicyDocument"] == TRUST and state["document"] == INLINE, state
    assert {p["PolicyName"] for p in state["attached"]} == {"AWSLambdaBasicExecutionRole", "calls"}, state
    assert read() == state
    print(json.dumps(state, sort_keys=True))


def change_and_destroy():
    iam.update_role(RoleName=ROLE, Description="of the CI", MaxSessionDuration=7200)
    iam.tag_role(RoleName=ROLE, Tags=[{"Key": "stage", "Value": "live"}])
    second = iam.create_policy_version(PolicyArn=OWN, PolicyDocument=allow("lambda:*"), SetAsDefault=True)["PolicyVersion"]
    assert second["VersionId"] == "v2" and second["IsDefaultVersion"], second
    state = read()
    assert state["role"]["MaxSessionDuration"] == 7200 and state["role"]["Tags"] == [{"Key": "stage", "Value": "live"}] and state["own"] == "v2", state

    other = json.dumps(TRUST).replace("lambda.", "ec2.")
    iam.create_role(RoleName="machines", AssumeRolePolicyDocument=other)
    said = expect("InvalidParameterValueException", lam.create_function, FunctionName="refused", Runtime="python3.11",
                  Handler="app.handler", Role=f"arn:aws:iam::{ACCOUNT}:role/machines", Code={"ZipFile": code})
    assert said == "The role defined for the function cannot be assumed by Lambda.", said
    expect("InvalidParameterValueException", lam.update_function_configuration, FunctionName=FUNCTION, Role=f"arn:aws:iam::{ACCOUNT}:role/machines")
    iam.delete_role(RoleName="machines")
    lam.update_function_configuration(FunctionName=FUNCTION, Role=f"arn:aws:iam::{ACCOUNT}:role/machines")  # not on record any more

    lam.delete_function(FunctionName=FUNCTION)
    assert expect("DeleteConflict", iam.delete_role, RoleName=ROLE).endswith("must detach all policies first.")
    assert iam.list_instance_profiles_for_role(RoleName=ROLE)["InstanceProfiles"] == []
    for attached in iam.list_attached_role_policies(RoleName=ROLE)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=ROLE, PolicyArn=attached["PolicyArn"])
    iam.delete_role_policy(RoleName=ROLE, PolicyName="reads")
    iam.delete_role(RoleName=ROLE)
    expect("DeleteConflict", iam.delete_policy, PolicyArn=OWN)
    iam.delete_policy_version(PolicyArn=OWN, VersionId="v1")
    iam.delete_policy(PolicyArn=OWN)
    assert iam.list_roles()["Roles"] == [] and iam.list_policies(Scope="Local")["Policies"] == []


if part == "create":
    create()
elif part == "read":
    print(json.dumps(read(), sort_keys=True))
else:
    change_and_destroy()
print("ok")
