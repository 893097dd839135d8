"""Reads the head of an HTTP/1 request (RFC 9112). What is not exactly a request
is refused, not guessed at: a server that reads a message otherwise than the one
before it lets requests be smuggled."""

# The longest head in bytes, from the request line to the empty line: more than
# the ingress accepts of a visitor, to which it adds its own.
MAX_HEAD = 128 * 1024

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")


class Refusal(Exception):
    """A request that is answered with a status and not served."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Head:
    """The request line and the fields, whose names are in lower case."""

    def __init__(self, method, target, minor, fields):
        self.method = method
        self.target = target
        self.minor = minor  # of HTTP/1.minor
        self.fields = fields
        self.length, self.chunked = framing(fields)

    def values(self, name):
        return [value for key, value in self.fields if key == name]

    def tokens(self, name):
        """The words of a field that is a list, in lower case."""
        return [word.strip().lower() for value in self.values(name) for word in value.split(",")]

    def keeps_alive(self):
        words = self.tokens("connection")
        return "close" not in words if self.minor else "keep-alive" in words


def parse(raw):
    """Returns the Head of raw, which is everything up to the empty line."""
    line, *lines = raw.split(b"\r\n")
    method, target, minor = request_line(line)
    head = Head(method, target, minor, [field(line) for line in lines])
    if minor and len(head.values("host")) != 1:
        raise Refusal(400, "one Host field is needed")
    if head.chunked and not minor:
        raise Refusal(400, "HTTP/1.0 has no chunks")
    return head


def request_line(line):
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Refusal(400, "the request line has not three parts")
    method, target, version = parts
    if not method or not TOKEN.issuperset(method):
        raise Refusal(400, "the method is none")
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        raise Refusal(505 if version.startswith(b"HTTP/") else 400, "the version is not HTTP/1.0 or HTTP/1.1")
    if any(byte <= 0x20 or byte == 0x7F for byte in target):
        raise Refusal(400, "the target has a control character")
    return method.decode("ascii"), origin_form(target.decode("latin-1")), 1 if version == b"HTTP/1.1" else 0


def origin_form(target):
    """Takes scheme and host off a target that has them (RFC 9112 3.2.2)."""
    if target.startswith("/") or target == "*":
        return target
    for scheme in ("http://", "https://"):
        if target[:len(scheme)].lower() == scheme:
            rest = target[len(scheme):]
            ends = [at for at in (rest.find("/"), rest.find("?")) if at >= 0]
            path = rest[min(ends):] if ends else ""
            return path if path.startswith("/") else "/" + path
    raise Refusal(400, "the target is none")


def field(line):
    name, colon, value = line.partition(b":")
    if not colon or not name or not TOKEN.issuperset(name):
        raise Refusal(400, "a field's name is none")
    value = value.strip(b" \t")
    if any(byte < 0x20 and byte != 0x09 or byte == 0x7F for byte in value):
        raise Refusal(400, "a field's value has a control character")
    return name.decode("ascii").lower(), value.decode("latin-1")


def framing(fields):
    """Returns how long the body is, and whether it comes in chunks instead."""
    lengths = [value for name, value in fields if name == "content-length"]
    codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
    if codings:
        if lengths or codings != ["chunked"]:
            raise Refusal(400, "the body's framing is not clear")
        return 0, True
    if not lengths:
        return 0, False
    if len(lengths) > 1 or not lengths[0] or len(lengths[0]) > 18 or not DIGITS.issuperset(lengths[0].encode("latin-1")):
        raise Refusal(400, "Content-Length is not a number")
    return int(lengths[0]), False
