"""The test function of the awslambdaric client: it does what its event says."""

import os
import time

if os.environ.get("INIT_FAIL") == "1":
    raise RuntimeError("init failed as asked")


def handle(event, context):
    do = event.get("do", "echo")
    if do == "error":
        raise ValueError("boom")
    if do == "exit":
        os._exit(3)
    if do == "sleep":
        time.sleep(event["ms"] / 1000)
    if do == "oom":
        exhaust()
    if do == "big":
        return "x" * (event["size"] - 2)
    if do == "context":
        return {
            "requestId": context.aws_request_id,
            "functionArn": context.invoked_function_arn,
            "remainingMs": context.get_remaining_time_in_millis(),
            "traceId": os.environ.get("_X_AMZN_TRACE_ID"),
            "clientContext": {"custom": context.client_context.custom} if context.client_context else None,
        }
    return event


def exhaust():
    """Takes and touches memory until the function is ended."""
    held = []
    while True:
        held.append(bytearray(b"1" * (8 << 20)))
