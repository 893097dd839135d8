"""One connection: its requests, one after the other."""
import io
import socket
import sys
import time
import traceback

from . import head
from .answer import Answer
from .body import Body

# How long a connection may be unused, in seconds. Longer than the ingress keeps
# one: whoever closes first must be the ingress, or a request meets the closing.
IDLE = 600
# How long the other side may take for the next part of what it has begun, or to
# take the next part of an answer, in seconds.
STALLED = 120
# How long, and for how many bytes, a sender whose request was refused is
# listened to, so that it sees the answer instead of a reset (RFC 9112 9.6).
LINGER, LINGER_BYTES = 10, 64 << 20


class Gone(Exception):
    """The other side has closed, or does not go on."""


class Connection:
    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.buffer = b""

    def run(self):
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self.serve_one():
                pass
        except (Gone, OSError):
            pass  # nobody is there to be told
        finally:
            self.sock.close()

    def serve_one(self):
        """Serves a request and reports whether another may follow."""
        answer = Answer(self)
        try:
            raw = self.read_head()
            if raw is None:
                return False
            request = head.parse(raw)
            answer.prepare(request)
            body = Body(self, request)
            self.call(request, body, answer)
            if not answer.keep or not body.skip():
                if not body.ended:
                    self.linger()
                return False
            return True
        except head.Refusal as refusal:
            sys.stderr.write("a request was refused: %s\n" % refusal)
            answer.keep = False
            answer.refuse(refusal.status)
            self.linger()
            return False

    def call(self, request, body, answer):
        """Runs the application. What it throws becomes a line in the log and, if
        no answer has begun, an answer."""
        environ = self.environ(request, io.BufferedReader(body))
        try:
            result = self.server.application(environ, answer.start)
            try:
                answer.write_all(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except (Gone, OSError) as err:
            if answer.broken or body.failed:
                raise Gone from err
            self.failed(request, answer)
        except head.Refusal:
            if answer.sent:
                raise Gone
            raise
        except BaseException:  # a function that calls sys.exit, too, ends only itself
            self.failed(request, answer)

    def failed(self, request, answer):
        sys.stderr.write("%s %s failed:\n%s" % (request.method, request.target.partition("?")[0], traceback.format_exc()))
        if answer.sent:
            raise Gone  # breaking off is all that still says so
        answer.refuse(500)

    def environ(self, request, stream):
        from urllib.parse import unquote_to_bytes

        path, _, query = request.target.partition("?")
        environ = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path.encode("latin-1")).decode("latin-1"),
            "QUERY_STRING": query,
            "REQUEST_URI": request.target,
            "RAW_URI": request.target,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": "HTTP/1.%d" % request.minor,
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": stream,
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        add_fields(environ, request)
        # What the ingress says about the visitor is believed: only it connects.
        environ["wsgi.url_scheme"] = first(environ, "HTTP_X_FORWARDED_PROTO") or "http"
        environ["REMOTE_ADDR"] = first(environ, "HTTP_X_FORWARDED_FOR") or "127.0.0.1"
        return environ

    # Reading and writing.

    def read_head(self):
        """Returns a request's head without its empty line, or None when the other
        side is done. Lines end in CR LF, as everything that sends requests to an
        ingress's backend writes them."""
        if not self.buffer:
            if not self.server.request_comes(self.sock, IDLE):
                return None
            self.buffer = self.sock.recv(65536)
            if not self.buffer:
                return None
        deadline = time.monotonic() + STALLED
        while True:
            self.buffer = self.buffer.lstrip(b"\r\n") if self.buffer[:1] in (b"\r", b"\n") else self.buffer
            end = self.buffer.find(b"\r\n\r\n", 0, head.MAX_HEAD + 4)
            if end >= 0:
                raw, self.buffer = self.buffer[:end], self.buffer[end + 4:]
                return raw
            if len(self.buffer) > head.MAX_HEAD:
                raise head.Refusal(431, "the request's head is longer than %d bytes" % head.MAX_HEAD)
            if time.monotonic() > deadline:
                raise Gone
            self.more()

    def more(self):
        self.sock.settimeout(STALLED)
        got = self.sock.recv(65536)
        if not got:
            raise Gone
        self.buffer += got

    def read(self, most):
        """Returns between 1 and most bytes."""
        if not self.buffer:
            self.more()
        got, self.buffer = self.buffer[:most], self.buffer[most:]
        return got

    def line(self, most):
        """Returns a line of at most that many bytes without its end."""
        while True:
            end = self.buffer.find(b"\r\n", 0, most + 2)
            if end >= 0:
                got, self.buffer = self.buffer[:end], self.buffer[end + 2:]
                return got
            if len(self.buffer) > most + 1:
                raise head.Refusal(400, "a chunk is not one")
            self.more()

    def send(self, data):
        self.sock.settimeout(STALLED)
        self.sock.sendall(data)

    def linger(self):
        self.sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER
        left = LINGER_BYTES
        while left > 0:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            got = len(self.sock.recv(65536))
            if not got or time.monotonic() > deadline:
                return
            left -= got


def add_fields(environ, request):
    """Adds the fields as WSGI has them. X_A and X-A would have the same name
    there, so names with an underscore are left out: they could forge the other."""
    for name, value in request.fields:
        if "_" in name:
            continue
        key = name.replace("-", "_").upper()
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        if key in environ:
            value = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + value
        environ[key] = value


def first(environ, key):
    return environ.get(key, "").split(",")[0].strip()
