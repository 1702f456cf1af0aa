"""What the Python runtime needs only once something is logged or goes wrong.

Loaded by lambent_runtime at that moment, so that it costs a start nothing.
"""
import os
import sys
import time

import lambent_runtime


def _json_logs():
    return os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").lower() == "json"


_prepared = None


def prepare(logging):
    """Makes what set_up needs, before the function's settings are known."""
    global _prepared
    if _prepared is not None:
        return _prepared

    class Handler(logging.Handler):
        def emit(self, record):
            try:
                # One record is one event: the log is collected by lines.
                text = self.format(record).rstrip("\n").replace("\n", "\r")
                sys.stdout.write(text + "\n")
                sys.stdout.flush()
            except Exception:
                self.handleError(record)

    class RequestFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = lambent_runtime.request_id or ""
            record.tenant_id = lambent_runtime.tenant_id
            return True

    class TextFormatter(logging.Formatter):
        converter = time.gmtime

    class JSONFormatter(logging.Formatter):
        converter = time.gmtime

        def format(self, record):
            return _dumps_any(_json_record(self, record))

    # What most functions want; set_up needs only to add it.
    handler = Handler()
    handler.addFilter(RequestFilter())
    layout = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s"
    handler.setFormatter(TextFormatter(layout, "%Y-%m-%dT%H:%M:%S"))
    _prepared = handler, JSONFormatter
    return _prepared


_added = False


def set_up(logging):
    """May be called again, when the function's settings are there."""
    global _added
    handler, JSONFormatter = prepare(logging)
    if not _added:
        logging.getLogger().addHandler(handler)
        _added = True
    if _json_logs():
        handler.setFormatter(JSONFormatter())
        level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
        level = {"TRACE": "NOTSET", "FATAL": "CRITICAL"}.get(level, level)
        if level in ("NOTSET", "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"):
            logging.getLogger().setLevel(level)


# Attributes that every log record has; what else it carries came by extra=.
_RECORD_FIELDS = frozenset(
    "name msg args levelname levelno pathname filename module exc_info exc_text "
    "stack_info lineno funcName created msecs relativeCreated thread threadName "
    "processName process taskName message asctime aws_request_id tenant_id".split()
)


def _json_record(formatter, record):
    out = {
        "timestamp": formatter.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
        "level": record.levelname,
        "message": record.msg
        if isinstance(record.msg, dict) and not record.args
        else record.getMessage(),
        "logger": record.name,
    }
    if record.exc_info and record.exc_info[0]:
        import traceback

        kind, value, trace = record.exc_info
        out["stackTrace"] = [line.rstrip("\n") for line in traceback.format_tb(trace)]
        out["errorType"] = kind.__name__
        out["errorMessage"] = str(value)
        out["location"] = "%s:%s:%d" % (record.pathname, record.funcName, record.lineno)
    if record.stack_info:
        out["stackTrace"] = record.stack_info.split("\n")
    for name, value in record.__dict__.items():
        if name not in _RECORD_FIELDS and name not in out:
            out[name] = value
    if record.tenant_id:
        out["tenantId"] = record.tenant_id
    if record.aws_request_id:
        out["requestId"] = record.aws_request_id
    return out


def _dumps_any(value):
    """JSON of anything: what has no JSON form is shown by str or repr."""
    import json

    return json.dumps(value, default=lambda o: str(o), ensure_ascii=False, skipkeys=True)


def _now():
    at = time.time()
    return "%s.%03dZ" % (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)),
        int(at * 1000) % 1000,
    )


def log_error(error):
    if _json_logs():
        line = {"timestamp": _now(), "level": "ERROR"}
        line.update(error)
        _write(_dumps_any(line))
        return
    kind, message = error.get("errorType"), error.get("errorMessage")
    first = "[ERROR] " + ": ".join(str(p) for p in (kind, message) if p)
    trace = error.get("stackTrace") or []
    # Carriage returns and no-break spaces keep a stack trace in one event.
    lines = [first, "Traceback (most recent call last):"]
    for entry in trace:
        for line in entry.rstrip("\n").split("\n"):
            body = line.lstrip(" ")
            lines.append("\u00a0" * (len(line) - len(body)) + body)
    _write("\r".join(line.replace("\n", "\r") for line in lines))


def _write(line):
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except (OSError, ValueError, UnicodeError):
        pass  # the function closed or replaced its own output


def error_object(error, request_id, hide):
    """The error as AWS shows it. hide names files whose frames lead the trace."""
    if isinstance(error, lambent_runtime.Fault):
        kind, message, trace = error.kind, str(error), error.trace
    else:
        import traceback

        kind = type(error).__name__
        message = str(error)
        frames = traceback.extract_tb(error.__traceback__)
        while frames and frames[0].filename.startswith(hide):
            frames = frames[1:]
        trace = traceback.format_list(frames)
    return {
        "errorMessage": message,
        "errorType": kind,
        "requestId": request_id,
        "stackTrace": trace,
    }


def encode_error(error):
    try:
        return lambent_runtime.dumps(error).encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates
        import json

        return json.dumps(error).encode("ascii")
