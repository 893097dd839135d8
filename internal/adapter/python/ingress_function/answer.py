"""The answer to one request: how its length is told, and when it has begun."""
import time
from http import HTTPStatus

REASONS = {int(status): status.phrase for status in HTTPStatus}

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# They are between the server and the ingress, so what a function says of them,
# most often because it passes on another's answer, is left out.
HOP_BY_HOP = frozenset(("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"))


class Answer:
    def __init__(self, connection):
        self.connection = connection
        self.keep = False     # whether the connection serves another request
        self.sent = False     # whether the head has been sent
        self.broken = False   # whether sending failed
        self.status = None
        self.fields = []
        self.is_head = False
        self.minor = 1
        self.chunked = False
        self.left = None      # bytes of the announced length still to come

    def prepare(self, request):
        self.keep = request.keeps_alive()
        self.is_head = request.method == "HEAD"
        self.minor = request.minor

    def start(self, status, headers, exc_info=None):
        """start_response of WSGI (PEP 3333)."""
        if exc_info is not None and self.sent:
            raise exc_info[1]
        if exc_info is None and self.status is not None:
            raise RuntimeError("start_response was called twice")
        self.status = check_status(status)
        self.fields = [check_field(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]
        return self.write

    def write_all(self, parts):
        """Sends what the application returned, each part as it comes."""
        if isinstance(parts, (list, tuple)):
            self.begin(sum(map(len, parts)), self.status is not None)
        for part in parts:
            if part:
                self.write(part)
        self.begin(0, self.status is not None)
        self.end()

    def write(self, data):
        self.begin(None, True)
        if self.bodiless() or not data:
            return
        if self.left is not None:
            if len(data) > self.left:
                raise ValueError("the answer is longer than its Content-Length")
            self.left -= len(data)
            self.send(data)
        elif self.chunked:
            self.send(b"%x\r\n%s\r\n" % (len(data), data))
        else:
            self.send(data)

    def begin(self, length, started):
        """Sends the head unless it has been; length is that of the body if known."""
        if self.sent:
            return
        if not started:
            raise RuntimeError("start_response was not called")
        fields = self.fields
        announced = [value for name, value in fields if name.lower() == "content-length"]
        if self.bodiless() and not self.is_head:
            fields = [(name, value) for name, value in fields if name.lower() != "content-length"]
        elif announced:
            self.left = int(announced[0])
        elif length is not None:
            self.left = length
            fields = fields + [("Content-Length", str(length))]
        elif self.minor and not self.is_head:
            self.chunked = True
            fields = fields + [("Transfer-Encoding", "chunked")]
        else:
            self.keep = self.keep and self.is_head  # the end of the connection is the end of the body
        self.send_head(fields)

    def send_head(self, fields):
        self.keep = self.keep and not self.connection.server.draining
        lines = ["HTTP/1.1 " + self.status]
        lines += ["%s: %s" % pair for pair in fields]
        if not any(name.lower() == "date" for name, _ in fields):
            lines.append("Date: " + date())
        if not self.keep:
            lines.append("Connection: close")
        elif not self.minor:
            lines.append("Connection: keep-alive")
        self.sent = True
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def end(self):
        if self.chunked:
            self.send(b"0\r\n\r\n")
        if self.left and not self.bodiless():
            raise ValueError("the answer is shorter than its Content-Length")

    def bodiless(self):
        return self.is_head or self.status[:3] in ("204", "304") or self.status[:1] == "1"

    def refuse(self, status):
        """Answers with a status and its name, unless an answer has begun."""
        if self.sent:
            return
        body = (REASONS[status] + "\n").encode("ascii")
        self.status = "%d %s" % (status, REASONS[status])
        self.fields = [("Content-Type", "text/plain; charset=utf-8")]
        self.chunked, self.left = False, None
        self.write_all([body])

    def send(self, data):
        try:
            self.connection.send(data)
        except OSError:
            self.broken = True
            raise


def check_status(status):
    code = status[:3]
    if not (code.isascii() and code.isdigit() and "200" <= code <= "999" and status[3:4] in ("", " ")):
        raise ValueError("%r is no status" % status)
    check_text(status)
    return status if len(status) > 4 else code + " " + REASONS.get(int(code), "Unknown")


def check_field(name, value):
    check_text(name)
    check_text(value)
    if not name or not all(c.isalnum() or c in "!#$%&'*+-.^_`|~" for c in name):
        raise ValueError("%r is no header's name" % name)
    if name.lower() == "content-length" and not (value.isascii() and value.isdigit()):
        raise ValueError("Content-Length is not a number: %r" % value)
    return name, value


def check_text(text):
    """A header holds no line's end, which would begin another header."""
    if not isinstance(text, str):
        raise TypeError("%r in a header is not a text" % (text,))
    if any(c in "\r\n\0" for c in text):
        raise ValueError("%r in a header has a line's end" % text)
    text.encode("latin-1")


def date():
    """Now as HTTP writes it, whatever the locale (RFC 9110 5.6.7)."""
    now = time.gmtime()
    return "%s, %02d %s %04d %02d:%02d:%02d GMT" % (
        DAYS[now.tm_wday], now.tm_mday, MONTHS[now.tm_mon - 1], now.tm_year, now.tm_hour, now.tm_min, now.tm_sec)
