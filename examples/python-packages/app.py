import humanize


def handler(event, context):
    """Answers with a number in words; humanize comes from requirements.txt."""
    return {"message": humanize.intword(event.get("number", 1_200_000))}
