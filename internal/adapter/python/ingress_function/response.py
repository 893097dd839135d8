"""Makes an answer of what a function returned, by the rules of Flask."""
import json

from .answer import REASONS

HTML = "text/html; charset=utf-8"


def make(returned, environ):
    """Returns (status, headers, parts) as WSGI has them. Raises TypeError when the
    function returned what is no answer."""
    body, status, extra = split(returned)
    if callable(body):
        return with_extra(run(body, environ), status, extra)
    if hasattr(body, "status_code") and hasattr(body, "headers"):
        return with_extra(response_like(body), status, extra)
    parts, kind = content(body)
    return with_extra((line(200), [("Content-Type", kind)], parts), status, extra)


def split(returned):
    if not isinstance(returned, tuple):
        return returned, None, None
    if len(returned) == 3:
        return returned
    if len(returned) == 2:
        body, other = returned
        return (body, None, other) if isinstance(other, (dict, list, tuple)) else (body, other, None)
    raise TypeError("the function returned a tuple of %d; it may be (body, status), (body, headers) or "
                    "(body, status, headers)" % len(returned))


def content(body):
    if isinstance(body, str):
        return [body.encode("utf-8")], HTML
    if isinstance(body, (bytes, bytearray)):
        return [bytes(body)], HTML
    if isinstance(body, (dict, list)):
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), default=simple)
        return [(text + "\n").encode("ascii")], "application/json"
    if hasattr(body, "__next__") or hasattr(body, "__iter__") and not isinstance(body, (tuple, set, frozenset)):
        return Stream(body), HTML
    if body is None:
        raise TypeError("the function returned None; return a text, a dict, a tuple or an iterator")
    raise TypeError("the function returned a %s; return a text, a dict, a tuple or an iterator" % type(body).__name__)


def simple(value):
    """What JSON has no word for and Flask writes nevertheless."""
    import datetime
    import decimal
    import uuid

    if isinstance(value, datetime.date):
        from email.utils import format_datetime

        if not isinstance(value, datetime.datetime):
            value = datetime.datetime(value.year, value.month, value.day)
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return format_datetime(value.astimezone(datetime.timezone.utc), usegmt=True)
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    raise TypeError("a %s cannot be written as JSON" % type(value).__name__)


class Stream:
    """Sends each part of an iterator when it is there."""

    def __init__(self, parts):
        self.parts = parts

    def __iter__(self):
        for part in self.parts:
            yield part.encode("utf-8") if isinstance(part, str) else part

    def close(self):
        close = getattr(self.parts, "close", None)
        if close is not None:
            close()


def run(application, environ):
    """Runs a WSGI application, which the responses of Werkzeug are."""
    started = []
    parts = application(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
    if not started:
        raise TypeError("the function returned something to call that is no WSGI application")
    status, headers = started[-1]
    return status, list(headers), parts


def response_like(response):
    headers = list(response.headers.items())
    for name in ("get_data", "data", "content", "body"):
        body = getattr(response, name, None)
        if body is not None:
            parts, kind = content(body() if callable(body) else body)
            break
    else:
        parts, kind = [b""], HTML
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", kind))
    return line(response.status_code), headers, parts


def with_extra(answer, status, extra):
    """Adds what a tuple says beside the body: its headers replace those of the
    same name."""
    old, headers, parts = answer
    if extra is not None:
        pairs = list(extra.items()) if hasattr(extra, "items") else list(extra)
        pairs = [(name, text) for name, value in pairs for text in (value if isinstance(value, (list, tuple)) else [value])]
        names = {name.lower() for name, _ in pairs}
        headers = [pair for pair in headers if pair[0].lower() not in names] + [(name, str(value)) for name, value in pairs]
    return (old if status is None else line(status)), headers, parts


def line(status):
    if isinstance(status, str):
        return status if " " in status else line(int(status))
    return "%d %s" % (int(status), REASONS.get(int(status), "Unknown"))
