"""lambent's Python runtime: runs a handler on the AWS Lambda Runtime API.

Start-up time is the design goal. Nothing is imported before the function's own
module that it might not need itself: the Runtime API is spoken over a bare
_socket, JSON goes straight to the C accelerator, and logging is set up at the
moment somebody imports it. Works on CPython 3.8 and up.

A process that is started without a function (lambent_blank, lambent_zygote) gets
here too, and goes on as any other once it has its function's environment.
"""
import os
import sys
import time

import _socket

import lambent_platform

_API = "/2018-06-01/runtime"

# Bytes that are read at first: a head and a small event. The rest of a larger one is
# read to its place. A buffer of 64 KB would reach beyond what the process has of the
# heap, into two pages that a start then writes to first.
_FIRST = 8192

# The invocation that is being handled; lambent_log reads it.
request_id = None
tenant_id = None


# ---------------------------------------------------------------- Runtime API


class _Client:
    """One keep-alive HTTP/1.1 connection to the Runtime API."""

    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self._address = (host or "127.0.0.1", int(port))
        self._host = address
        agent = "lambent-python/%d.%d" % sys.version_info[:2]
        common = "Host: %s\r\nUser-Agent: %s\r\n" % (address, agent)
        self._common = common.encode("ascii")
        self._next = b"GET %s/invocation/next HTTP/1.1\r\n%s\r\n" % (
            _API.encode("ascii"),
            self._common,
        )
        self._sock = None

    def _connect(self):
        self._sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self._sock.connect(self._address)

    def over(self, fd):
        """Has a connection already."""
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)

    def _close(self):
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _recv(self, size=_FIRST):
        data = self._sock.recv(size)
        if not data:
            raise ConnectionError("the Runtime API closed the connection")
        return data

    def _roundtrip(self, head, body):
        # A connection that went stale while the sandbox was frozen shows as an
        # error before the first byte of the answer; one retry is then safe.
        fresh = self._sock is None
        while True:
            if self._sock is None:
                self._connect()
            try:
                if body and len(body) > 32768:
                    self._sock.sendall(head)
                    self._sock.sendall(body)
                else:
                    self._sock.sendall(head + body)
                data = self._recv()
                break
            except OSError:
                self._close()
                if fresh:
                    raise
                fresh = True
        return self._read(data)

    def _read(self, data):
        end = data.find(b"\r\n\r\n")
        while end < 0:
            data += self._recv()
            end = data.find(b"\r\n\r\n")
        lines = data[:end].decode("latin-1").split("\r\n")
        status = int(lines[0][9:12])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        rest = data[end + 4 :]
        if "content-length" in headers:
            body, rest = self._exactly(int(headers["content-length"]), rest)
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            body, rest = self._chunked(rest)
        else:
            body = b""
        if headers.get("connection", "").lower() == "close":
            self._close()
        return status, headers, body

    def _exactly(self, size, rest):
        if len(rest) >= size:
            return rest[:size], rest[size:]
        buffer = bytearray(size)
        view = memoryview(buffer)
        have = len(rest)
        view[:have] = rest
        while have < size:
            count = self._sock.recv_into(view[have:])
            if not count:
                raise ConnectionError("the Runtime API closed the connection")
            have += count
        return buffer, b""

    def _line(self, rest):
        end = rest.find(b"\r\n")
        while end < 0:
            rest += self._recv()
            end = rest.find(b"\r\n")
        return rest[:end], rest[end + 2 :]

    def _chunked(self, rest):
        parts = []
        while True:
            line, rest = self._line(rest)
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            part, rest = self._exactly(size, rest)
            parts.append(bytes(part))
            _, rest = self._line(rest)
        while True:  # trailers, up to the empty line
            line, rest = self._line(rest)
            if not line:
                return b"".join(parts), rest

    def next(self):
        status, headers, body = self._roundtrip(self._next, b"")
        if status != 200:
            raise ConnectionError("the Runtime API answered %d to next" % status)
        return headers, body

    def post(self, path, body, headers=()):
        head = ["POST %s%s HTTP/1.1\r\n" % (_API, path)]
        head += ["%s: %s\r\n" % pair for pair in headers]
        head.append("Content-Length: %d\r\n" % len(body))
        lines = "".join(head).encode("latin-1", "replace")
        status, _, answer = self._roundtrip(lines + self._common + b"\r\n", body)
        # 410: the invocation has ended without us, its answer is late. 413: the
        # answer is too large; the platform has told the caller. Both leave the
        # runtime in order.
        if status not in (202, 410, 413):
            raise ConnectionError(
                "the Runtime API answered %d to %s: %s"
                % (status, path, bytes(answer[:500]).decode("utf-8", "replace"))
            )


# ----------------------------------------------------------------------- JSON


class _ScannerOptions:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {
        "-Infinity": float("-inf"),
        "Infinity": float("inf"),
        "NaN": float("nan"),
    }.__getitem__
    memo = {}


_PLAIN = frozenset((str, int, float, bool, type(None)))


def _odd(value):
    """Tells that there is what the encoder in C does not write as AWS's does."""
    try:
        return _has_odd(value)
    except RecursionError:  # the encoder has words for that
        return False


def _has_odd(value):
    kind = type(value)
    if kind is dict:
        parts = value.values()
    elif kind is list or kind is tuple:
        parts = value
    else:
        return kind not in _PLAIN
    if _PLAIN.issuperset(map(type, parts)):  # at the speed of C
        return False
    for part in parts:
        if type(part) not in _PLAIN and _has_odd(part):
            return True
    return False


def _default(value):
    raise TypeError(
        "Object of type %s is not JSON serializable" % type(value).__name__
    )


def _codec():
    """Returns loads and dumps on the C accelerator of the json package.

    Importing json itself pulls in re, which costs more than everything else
    here. Where the accelerator has another shape than known, json is used.
    """
    # As on AWS, non-ASCII text is escaped only up to Python 3.11.
    ascii_only = sys.version_info < (3, 12)
    space = " \t\n\r"

    def slowloads(text):
        import json

        return json.loads(text)

    def slowdumps(value):
        import json

        if _odd(value):
            import lambent_json

            value = lambent_json.plain(value, float)
        return json.dumps(value, default=_default, ensure_ascii=ascii_only)

    try:
        import _json

        scan = _json.make_scanner(_ScannerOptions)
        escape = _json.encode_basestring_ascii if ascii_only else _json.encode_basestring
        make = _json.make_encoder

        def loads(text):
            start = 0
            while text[start : start + 1] in space and start < len(text):
                start += 1
            try:
                value, end = scan(text, start)
                if not text[end:].strip(space):
                    return value
            except StopIteration:
                pass
            return slowloads(text)  # raises the proper error

        def dumps(value):
            write = escape
            if _odd(value):
                import lambent_json

                value, write = lambent_json.plain(value), lambent_json.writer(escape)
            encode = make({}, _default, write, None, ": ", ", ", False, False, True)
            return "".join(encode(value, 0))

        probe = '{"a": [1, 2.5, null, true, "\\u00e9"]}'
        if loads(dumps(loads(probe))) != loads(probe):
            raise ValueError(probe)
        return loads, dumps
    except (ImportError, AttributeError, TypeError, ValueError):
        return slowloads, slowdumps


loads, dumps = _codec()


# -------------------------------------------------------------------- context


class CognitoIdentity:
    def __init__(self, source):
        self.cognito_identity_id = source.get("cognitoIdentityId")
        self.cognito_identity_pool_id = source.get("cognitoIdentityPoolId")


class LambdaContext:
    """The second argument of a handler, with the attributes that AWS documents."""

    def __init__(self, headers):
        env = os.environ
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id")
        self.log_group_name = env.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = env.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = env.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = env.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        self.client_context, self._w3c = None, {}
        client = headers.get("lambda-runtime-client-context")
        if client:
            import lambent_mobile

            client = loads(_text(client))
            self.client_context = lambent_mobile.ClientContext(client)
            self._w3c = lambent_mobile.w3c(client)
        identity = headers.get("lambda-runtime-cognito-identity")
        self.identity = CognitoIdentity(loads(_text(identity)) if identity else {})
        self._epoch_deadline_time_in_ms = int(
            headers.get("lambda-runtime-deadline-ms") or 0
        )

    def get_remaining_time_in_millis(self):
        left = self._epoch_deadline_time_in_ms - int(time.time() * 1000)
        return left if left > 0 else 0

    def w3c(self):
        """The trace that the caller is in, in W3C's fields."""
        return dict(self._w3c)

    def log(self, message):
        sys.stdout.write(str(message))

    def __repr__(self):
        names = (
            "aws_request_id log_group_name log_stream_name function_name "
            "memory_limit_in_mb function_version invoked_function_arn "
            "client_context identity tenant_id"
        ).split()
        pairs = ",".join("%s=%s" % (n, getattr(self, n)) for n in names)
        return "LambdaContext([%s])" % pairs


def _text(header):
    """Header values are read as latin-1; what they carry is UTF-8."""
    return header.encode("latin-1").decode("utf-8", "replace")


# ------------------------------------------------------- logging and errors


class Fault(Exception):
    """A handler that cannot be used; kind is the errorType."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.trace = trace or []


# -------------------------------------------------------------------- handler


def _load(handler, code=b""):
    """code is the module, if it is compiled already."""
    try:
        module_name, name = handler.rsplit(".", 1)
    except ValueError as error:
        raise Fault(
            "Runtime.MalformedHandlerName", "Bad handler '%s': %s" % (handler, error)
        )
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault(
            "Runtime.BuiltInModuleConflict",
            "Cannot use built-in module %s as a handler module" % module_name,
        )
    # Code is mounted read-only: nothing is gained by trying to leave byte code there.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        if code:
            import lambent_code

            module = lambent_code.load(module_name, code)
        else:
            import importlib

            module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise Fault(
            "Runtime.ImportModuleError",
            "Unable to import module '%s': %s" % (module_name, error),
        )
    except SyntaxError as error:
        raise Fault(
            "Runtime.UserCodeSyntaxError",
            "Syntax error in module '%s': %s" % (module_name, error),
            ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)],
        )
    finally:
        sys.dont_write_bytecode = writes
    try:
        return getattr(module, name)
    except AttributeError:
        raise Fault(
            "Runtime.HandlerNotFound",
            "Handler '%s' missing on module '%s'" % (name, module_name),
        )


def _init_error(client, error):
    # Our frames and importlib's say nothing to the person who reads the trace.
    ours = os.path.join(os.path.dirname(__file__), "lambent_")
    hide = (ours, "<frozen importlib", os.path.dirname(os.__file__) + "/importlib/")
    kind, body = _report(error, "", hide)
    headers = [("Lambda-Runtime-Function-Error-Type", _header(kind))]
    client.post("/init/error", body, headers)


def _report(error, request_id, hide):
    """Logs an error; returns its type and its form for the caller."""
    try:
        import lambent_log

        shown = lambent_log.error_object(error, request_id, hide)
        lambent_log.log_error(shown)
        return shown["errorType"], lambent_log.encode_error(shown)
    except (OSError, ImportError, MemoryError, RecursionError):
        # A function that is out of files or memory can import nothing more; its
        # error is worth more than its trace.
        kind = error.kind if isinstance(error, Fault) else type(error).__name__
        shown = '{"errorMessage": "%s", "errorType": "%s", "requestId": "%s", "stackTrace": []}'
        plain = "".join(c for c in str(error) if " " <= c <= "~" and c not in '"\\')
        return kind, (shown % (plain, kind, request_id)).encode("ascii", "replace")


def _header(value):
    """A value that cannot break out of its header line."""
    return "".join(c if c.isprintable() else " " for c in value)[:256]


def prepare():
    """Makes the process look like a function's: output, exit(), module path."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.line_buffering:
            stream.reconfigure(line_buffering=True)
    lambent_platform.add_builtins()
    lambent_platform.arrange(os.environ)
    lambent_platform.arrange_logging()
    # Some code reads the modules of the main script; ours is none of its business.
    sys.argv = [sys.argv[0]]


def _handle(client, handler, headers, body):
    global request_id, tenant_id
    request_id = headers.get("lambda-runtime-aws-request-id", "")
    tenant_id = headers.get("lambda-runtime-aws-tenant-id")
    trace = headers.get("lambda-runtime-trace-id")
    if trace:
        os.environ["_X_AMZN_TRACE_ID"] = trace
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    sent = []
    invocation = headers.get("lambda-runtime-invocation-id")
    if invocation:
        sent.append(("Lambda-Runtime-Invocation-Id", invocation))
    path = "/invocation/" + request_id
    try:
        answer, kind = _call(handler, headers, body)
    except Exception as error:
        kind, body = _report(error, request_id, (__file__,))
        sent.append(("Content-Type", "application/json"))
        sent.append(("Lambda-Runtime-Function-Error-Type", _header(kind)))
        client.post(path + "/error", body, sent)
    else:
        sent.append(("Content-Type", kind))
        _flush()
        client.post(path + "/response", answer, sent)
    finally:
        request_id = None


def _call(handler, headers, body):
    try:
        if headers.get("content-type", "application/json") == "application/json":
            event = loads(body.decode("utf-8"))
        else:
            event = bytes(body)
    except Exception as error:
        raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error)
    answer = handler(event, LambdaContext(headers))
    if isinstance(answer, bytes):
        return answer, "application/unknown"
    try:
        return dumps(answer).encode("utf-8"), "application/json"
    except Exception as error:
        raise Fault("Runtime.MarshalError", "Unable to marshal response: %s" % error)


def _flush():
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # the function closed or replaced its own output


def main():
    if os.environ.get("LAMBENT_PREPARE") == "function":
        import lambent_bytecode

        lambent_bytecode.make("/tmp/bytecode")
        sys.exit()
    control, client = lambent_platform.control()
    if client is None:
        client = _Client(os.environ["AWS_LAMBDA_RUNTIME_API"])
        prepare()
    name, code = os.environ.get("_HANDLER", ""), b""
    if control is not None:
        code = control.begin(name)
    if os.path.exists("/var/cache/lambent/bytecode"):
        import lambent_bytecode

        lambent_bytecode.serve()
    try:
        handler = _load(name, code)
        if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
            lambent_platform.after_restore()
    except Exception as error:
        _init_error(client, error)
        sys.exit(1)
    if control is not None and control.end(dumps):
        client.over(lambent_platform.CONTROL)
    while True:
        try:
            headers, body = client.next()
        except OSError as error:
            sys.exit("lambent: %s" % error)
        _handle(client, handler, headers, body)
