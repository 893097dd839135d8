"""Reads multipart/form-data (RFC 7578): forms with files."""
import io
import re

from .multi import MultiDict

MAX_PARTS = 1000
PARAMETER = re.compile(r';\s*([A-Za-z0-9*_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


class File:
    """A file of a form."""

    def __init__(self, name, filename, content_type, content):
        self.name = name
        self.filename = filename
        self.content_type = content_type
        self.mimetype = content_type.partition(";")[0].strip().lower()
        self.content_length = len(content)
        self.stream = io.BytesIO(content)
        self.read = self.stream.read
        self.seek = self.stream.seek
        self.readline = self.stream.readline

    def __iter__(self):
        return iter(self.stream)

    def save(self, destination):
        """Writes the file to a path or to something open for bytes."""
        if hasattr(destination, "write"):
            destination.write(self.stream.read())
            return
        with open(destination, "wb") as out:
            out.write(self.stream.read())

    def __repr__(self):
        return "<File %r (%r)>" % (self.filename, self.content_type)


def parse(data, content_type):
    """Returns the values and the files."""
    from .request import HTTPError

    boundary = parameters(content_type).get("boundary", "")
    if not boundary or len(boundary) > 200:
        raise HTTPError(400, "The form does not say what separates its parts.")
    parts = (b"\r\n" + data).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise HTTPError(400, "The form ends early.")
    if len(parts) > MAX_PARTS + 2:
        raise HTTPError(413, "The form has more than %d parts." % MAX_PARTS)
    form, files = MultiDict(), MultiDict()
    for part in parts[1:-1]:
        head, middle, content = part.partition(b"\r\n\r\n")
        if not middle:
            raise HTTPError(400, "A part of the form is not one.")
        add(form, files, header(head), content)
    return form, files


def add(form, files, head, content):
    disposition = parameters(head.get("content-disposition", ""))
    name = disposition.get("name")
    if name is None:
        return
    if "filename" in disposition:
        kind = head.get("content-type", "application/octet-stream")
        files.add(name, File(name, disposition["filename"], kind, content))
    else:
        form.add(name, content.decode("utf-8", "replace"))


def header(raw):
    found = {}
    for line in raw.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        found[name.strip().lower()] = value.strip()
    return found


def parameters(value):
    """Reads the parameters behind the first word of a field. Browsers escape only
    the quotation mark, as %22, so a backslash that is before anything else stays."""
    found = {}
    for name, quoted, plain in PARAMETER.findall(value):
        text = re.sub(r'\\(["\\])', r"\1", quoted) if quoted else plain
        found.setdefault(name.lower(), text)
    return found
