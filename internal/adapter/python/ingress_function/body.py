"""The body of a request, read from the connection as the function asks for it."""
import io

from .head import Refusal

# The longest body in bytes.
MAX_BODY = 32 * 1024 * 1024
# The longest line that announces a chunk, and all trailing fields, in bytes.
MAX_CHUNK_LINE = 4096
MAX_TRAILER = 16 * 1024

HEX = frozenset(b"0123456789abcdefABCDEF")


class Body(io.RawIOBase):
    """Reads what belongs to one request, and no byte more."""

    def __init__(self, connection, head):
        self.connection = connection
        self.left = head.length  # of the body, or of the chunk
        self.chunked = head.chunked
        self.total = 0
        self.ended = not head.chunked and head.length == 0
        self.expects = head.minor == 1 and "100-continue" in head.tokens("expect")
        self.failed = False
        if head.length > MAX_BODY:
            raise too_long()

    def readable(self):
        return True

    def readinto(self, into):
        if self.ended or not into:
            return 0
        try:
            return self.fill(into)
        except BaseException:
            self.failed = True
            raise

    def fill(self, into):
        if self.expects:
            self.expects = False
            self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.chunked and self.left == 0 and not self.next_chunk():
            return 0
        got = self.connection.read(min(len(into), self.left))
        into[:len(got)] = got
        self.left -= len(got)
        if self.left == 0:
            self.end_of_part()
        return len(got)

    def end_of_part(self):
        if not self.chunked:
            self.ended = True
        elif self.connection.line(2) != b"":
            raise Refusal(400, "a chunk is longer than it said")

    def next_chunk(self):
        size = self.connection.line(MAX_CHUNK_LINE).partition(b";")[0].strip(b" \t")
        if not size or len(size) > 8 or not HEX.issuperset(size):
            raise Refusal(400, "a chunk's size is no number")
        self.left = int(size, 16)
        self.total += self.left
        if self.total > MAX_BODY:
            raise too_long()
        if self.left:
            return True
        self.trailer()
        self.ended = True
        return False

    def trailer(self):
        left = MAX_TRAILER
        while True:
            line = self.connection.line(left)
            if not line:
                return
            left -= len(line)

    def skip(self):
        """Reads what the function did not, so that the next request can follow,
        and reports whether that worked. A sender who waits for leave to send the
        body is not given it: the answer is there already."""
        if self.ended:
            return True
        if self.failed or self.expects:
            return False
        buffer = bytearray(64 * 1024)
        while self.readinto(buffer):
            pass
        return self.ended


def too_long():
    return Refusal(413, "the body is longer than %d bytes" % MAX_BODY)
