import time

time.sleep(3600)


def handler(event, context):
    return "never"
