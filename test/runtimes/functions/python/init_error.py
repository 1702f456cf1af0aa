raise ValueError("broken at start")


def handler(event, context):
    return "never"
