import platform


def lambda_handler(event, context):
    """Answers with a greeting and with where it ran."""
    return {
        "message": f"Hello, {event.get('name', 'stranger')}!",
        "python": platform.python_version(),
        "request": context.aws_request_id,
        "memory_mb": int(context.memory_limit_in_mb),
    }
