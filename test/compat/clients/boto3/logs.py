"""Puts events into a log and follows it live, with no more than what the server's
credentials file says, and the address."""

import time

import boto3

logs = boto3.client("logs")
assert logs.meta.region_name == "us-east-1", logs.meta.region_name

GROUP, STREAM = "/team/import", "monday"
logs.create_log_group(logGroupName=GROUP)
logs.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)
streams = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
assert [s["logStreamName"] for s in streams] == [STREAM] and "lastEventTimestamp" not in streams[0], streams


def put(*messages):
    now = int(time.time() * 1000)
    out = logs.put_log_events(logGroupName=GROUP, logStreamName=STREAM, logEvents=[{"timestamp": now, "message": m} for m in messages])
    assert "rejectedLogEventsInfo" not in out, out


put("before")
time.sleep(0.002)
arn = logs.describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"][0]["logGroupArn"]
tail = logs.start_live_tail(logGroupIdentifiers=[arn], logEventFilterPattern="-debug")["responseStream"]
events = []
for event in tail:
    if "sessionStart" in event:
        put("first\nof two lines", "debug: not this one", "second \u00e9")
    else:
        events += event["sessionUpdate"]["sessionResults"]
    if len(events) == 2:
        tail.close()
        break
assert [e["message"] for e in events] == ["first\nof two lines", "second \u00e9"], events
assert events[0]["logStreamName"] == STREAM and events[0]["logGroupIdentifier"] == arn, events[0]

found = [e["message"] for page in logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP) for e in page["events"]]
assert found == ["before", "first\nof two lines", "debug: not this one", "second \u00e9"], found
print("ok")
