import from_layer


def handler(event, context):
    return from_layer.VALUE
