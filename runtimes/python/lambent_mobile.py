"""The client context, which only callers with a mobile SDK or a CLI flag send."""


class _Fields:
    """An object with fixed attributes, None where the JSON has none."""

    __slots__ = ()

    def __init__(self, source):
        for name in self.__slots__:
            setattr(self, name, source.get(name))

    def __repr__(self):
        pairs = ",".join("%s=%s" % (n, getattr(self, n)) for n in self.__slots__)
        return "%s([%s])" % (type(self).__name__, pairs)


class Client(_Fields):
    __slots__ = [
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    ]


class ClientContext(_Fields):
    __slots__ = ["custom", "env", "client"]

    def __init__(self, source):
        _Fields.__init__(self, source)
        if self.client:
            self.client = Client(self.client)


def w3c(source):
    """What a client context has of W3C's trace context."""
    sent = source.get("w3c")
    if not isinstance(sent, dict):
        return {}
    names = ("traceparent", "tracestate", "baggage")
    return {name: sent[name] for name in names if isinstance(sent.get(name), str)}
