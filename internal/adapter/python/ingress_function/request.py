"""A request with the attributes that authors of functions know from Flask."""
import json
from urllib.parse import parse_qsl, quote

from .multi import Headers, MultiDict

# How many values a query or a form may have.
MAX_FIELDS = 1000


class HTTPError(Exception):
    """What Flask answers with a status when a function asks for what is not there."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status
        self.text = text


class Request:
    def __init__(self, environ):
        self.environ = environ
        self.method = environ["REQUEST_METHOD"]
        self.scheme = environ["wsgi.url_scheme"]
        self.remote_addr = environ["REMOTE_ADDR"]
        self.path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        self.query_string = environ["QUERY_STRING"].encode("latin-1")
        self.headers = Headers.of(environ)
        self.stream = environ["wsgi.input"]
        self.view_args = {}
        self._kept = {}

    def _once(self, name, make):
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    # The address.

    @property
    def host(self):
        return self.headers.get("X-Forwarded-Host", "").split(",")[0].strip() or self.headers.get("Host", "")

    @property
    def is_secure(self):
        return self.scheme == "https"

    @property
    def full_path(self):
        return self.path + "?" + self.query_string.decode("utf-8", "replace")

    @property
    def host_url(self):
        return "%s://%s/" % (self.scheme, self.host)

    url_root = root_url = host_url

    @property
    def base_url(self):
        # As in Flask, what is not ASCII is readable.
        return self.host_url + "".join(c if c > "\x7f" else quote(c, safe="/!$&'()*+,;=:@~") for c in self.path.lstrip("/"))

    @property
    def url(self):
        query = self.query_string.decode("latin-1")
        return self.base_url + ("?" + query if query else "")

    @property
    def access_route(self):
        hops = [hop.strip() for hop in self.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
        return hops or [self.remote_addr]

    # The header.

    @property
    def content_type(self):
        return self.headers.get("Content-Type")

    @property
    def content_length(self):
        length = self.headers.get("Content-Length")
        return None if length is None else int(length)

    @property
    def mimetype(self):
        return (self.content_type or "").partition(";")[0].strip().lower()

    @property
    def is_json(self):
        kind = self.mimetype
        return kind == "application/json" or kind.startswith("application/") and kind.endswith("+json")

    @property
    def user_agent(self):
        return self.headers.get("User-Agent", "")

    @property
    def referrer(self):
        return self.headers.get("Referer")

    @property
    def cookies(self):
        return self._once("cookies", self._read_cookies)

    def _read_cookies(self):
        cookies = MultiDict()
        for pair in self.headers.get("Cookie", "").split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals:
                cookies.add(name.strip(), value.strip().strip('"'))
        return cookies

    # The query and the body.

    @property
    def args(self):
        return self._once("args", lambda: fields(self.query_string))

    @property
    def data(self):
        # As in Flask, a form that is parsed is not there as bytes as well.
        return b"" if self._is_form() else self.get_data()

    def get_data(self, cache=True, as_text=False, parse_form_data=False):
        data = self._once("data", self.stream.read)
        if parse_form_data and self._is_form():
            data = b""
        return data.decode("utf-8", "replace") if as_text else data

    @property
    def json(self):
        return self.get_json()

    def get_json(self, force=False, silent=False, cache=True):
        if not (force or self.is_json):
            if silent:
                return None
            raise HTTPError(415, "The body is not JSON: its Content-Type is not application/json.")
        try:
            return self._once("json", lambda: json.loads(self.get_data()))
        except (ValueError, RecursionError) as err:
            if silent:
                return None
            raise HTTPError(400, "The body is not JSON: %s." % err) from None

    def _is_form(self):
        return self.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data")

    @property
    def form(self):
        return self._form()[0]

    @property
    def files(self):
        return self._form()[1]

    @property
    def values(self):
        both = MultiDict()
        for source in (self.args, self.form):
            for name, value in source.items(multi=True):
                both.add(name, value)
        return both

    def _form(self):
        return self._once("form", self._read_form)

    def _read_form(self):
        if self.mimetype == "application/x-www-form-urlencoded":
            return fields(self.get_data()), MultiDict()
        if self.mimetype == "multipart/form-data":
            from .multipart import parse

            return parse(self.get_data(), self.content_type)
        return MultiDict(), MultiDict()

    def __repr__(self):
        return "<Request %r [%s]>" % (self.url, self.method)


def fields(raw):
    """Reads name=value&…; a name without a value has the empty one."""
    found = MultiDict()
    try:
        for name, value in parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS):
            found.add(name, value)
    except ValueError:
        raise HTTPError(413, "There are more than %d values." % MAX_FIELDS) from None
    return found
