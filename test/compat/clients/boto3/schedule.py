"""Takes a schedule through its life with boto3. Argument: code zip."""

import datetime
import json
import sys
import time

import boto3
from refusals import expect

ROLE = "arn:aws:iam::000000000000:role/test"
NAME = "on-time"

code = open(sys.argv[1], "rb").read()
lam, scheduler, logs = boto3.client("lambda"), boto3.client("scheduler"), boto3.client("logs")


def messages():
    group = f"/aws/lambda/{NAME}"
    try:
        events = logs.filter_log_events(logGroupName=group)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [e["message"].strip() for e in events if "scheduled " in e["message"]]


def until(what, answer, limit=30):
    end = time.time() + limit
    while not answer():
        assert time.time() < end, f"{what} did not come to pass: {messages()}"
        time.sleep(0.1)


function = lam.create_function(
    FunctionName=NAME, Runtime="python3.11", Handler="app.handler", Role=ROLE, Code={"ZipFile": code},
)["FunctionArn"]
lam.get_waiter("function_active_v2").wait(FunctionName=NAME)

OFF = {"Mode": "OFF"}
TARGET = {"Arn": function, "RoleArn": ROLE}


def at(seconds):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    return moment.strftime("at(%Y-%m-%dT%H:%M:%S)")


# Groups and their tags.
group = scheduler.create_schedule_group(Name="night", Tags=[{"Key": "team", "Value": "blue"}])["ScheduleGroupArn"]
assert group.endswith(":schedule-group/night"), group
expect("ConflictException", scheduler.create_schedule_group, Name="night")
assert scheduler.get_schedule_group(Name="night")["State"] == "ACTIVE"
assert [g["Name"] for g in scheduler.list_schedule_groups()["ScheduleGroups"]] == ["default", "night"]
scheduler.tag_resource(ResourceArn=group, Tags=[{"Key": "stage", "Value": "test"}])
scheduler.untag_resource(ResourceArn=group, TagKeys=["team"])
assert scheduler.list_tags_for_resource(ResourceArn=group)["Tags"] == [{"Key": "stage", "Value": "test"}]
expect("ResourceNotFoundException", scheduler.get_schedule_group, Name="day")
expect("ValidationException", scheduler.delete_schedule_group, Name="default")

# What a schedule says comes back as it went.
start = datetime.datetime(2031, 1, 1, tzinfo=datetime.timezone.utc)
arn = scheduler.create_schedule(
    Name="nightly", GroupName="night", ScheduleExpression="cron(0 3 ? * MON-FRI *)", ScheduleExpressionTimezone="Europe/Berlin",
    StartDate=start, FlexibleTimeWindow={"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15}, Description="clean up",
    Target={**TARGET, "Input": '{"a": 1}', "RetryPolicy": {"MaximumRetryAttempts": 0},
            "DeadLetterConfig": {"Arn": "arn:aws:sqs:us-east-1:000000000000:dead"}},
)["ScheduleArn"]
assert arn.endswith(":schedule/night/nightly"), arn
got = scheduler.get_schedule(Name="nightly", GroupName="night")
assert got["StartDate"] == start and got["ScheduleExpressionTimezone"] == "Europe/Berlin", got
assert got["Target"]["Input"] == '{"a": 1}' and got["Target"]["RetryPolicy"] == {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 86400}, got
assert got["FlexibleTimeWindow"] == {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15} and got["State"] == "ENABLED", got
assert got["ActionAfterCompletion"] == "NONE" and got["Arn"] == arn and got["Description"] == "clean up", got
scheduler.update_schedule(Name="nightly", GroupName="night", ScheduleExpression="rate(2 hours)", FlexibleTimeWindow=OFF,
                          Target=TARGET, State="DISABLED")
got = scheduler.get_schedule(Name="nightly", GroupName="night")
assert got["State"] == "DISABLED" and got["ScheduleExpression"] == "rate(2 hours)" and "Description" not in got, got

# What cannot be.
for wrong in (
    {"ScheduleExpression": "rate(1 hours)"},
    {"ScheduleExpression": "cron(0 3 * * * *)"},
    {"ScheduleExpressionTimezone": "Mars/Olympus"},
    {"Target": {"Arn": "arn:aws:sqs:us-east-1:000000000000:q", "RoleArn": ROLE}},
    {"Target": {**TARGET, "Input": "no json"}},
    {"FlexibleTimeWindow": {"Mode": "FLEXIBLE"}},
):
    expect("ValidationException", scheduler.create_schedule,
           **{"Name": "wrong", "ScheduleExpression": "rate(1 hour)", "FlexibleTimeWindow": OFF, "Target": TARGET, **wrong})
expect("ResourceNotFoundException", scheduler.get_schedule, Name="wrong")
expect("ResourceNotFoundException", scheduler.create_schedule, Name="x", GroupName="day", ScheduleExpression="rate(1 hour)",
       FlexibleTimeWindow=OFF, Target=TARGET)

# One that calls once and goes, one that calls at once and stays.
scheduler.create_schedule(
    Name="once", ScheduleExpression=at(2), FlexibleTimeWindow=OFF, ActionAfterCompletion="DELETE",
    Target={**TARGET, "Input": '{"say": "scheduled <aws.scheduler.schedule-arn> <aws.scheduler.attempt-number>"}'},
)
scheduler.create_schedule(Name="often", ScheduleExpression="rate(1 minute)", FlexibleTimeWindow=OFF,
                          Target={**TARGET, "Input": '{"say": "scheduled often"}'})
expect("ConflictException", scheduler.create_schedule, Name="often", ScheduleExpression="rate(1 minute)", FlexibleTimeWindow=OFF, Target=TARGET)
until("both calls", lambda: len(messages()) >= 2)
once = next(m for m in messages() if "often" not in m)
assert once.endswith(":schedule/default/once 1"), once
until("the end of what was to go", lambda: "once" not in [s["Name"] for s in scheduler.list_schedules()["Schedules"]])

# Lists.
for i in range(5):
    scheduler.create_schedule(Name=f"page-{i}", ScheduleExpression="cron(0 3 1 1 ? *)", FlexibleTimeWindow=OFF, Target=TARGET)
pages = scheduler.get_paginator("list_schedules").paginate(NamePrefix="page-", PaginationConfig={"PageSize": 2})
pages = [[s["Name"] for s in p["Schedules"]] for p in pages]
assert pages == [["page-0", "page-1"], ["page-2", "page-3"], ["page-4"]], pages
assert [s["Name"] for s in scheduler.list_schedules(State="DISABLED")["Schedules"]] == ["nightly"]
assert [s["Target"]["Arn"] for s in scheduler.list_schedules(GroupName="night")["Schedules"]] == [function]

scheduler.delete_schedule(Name="often")
expect("ResourceNotFoundException", scheduler.delete_schedule, Name="often")
scheduler.delete_schedule_group(Name="night")
expect("ResourceNotFoundException", scheduler.list_schedules, GroupName="night")
assert len(scheduler.list_schedules()["Schedules"]) == 5
print("ok")
