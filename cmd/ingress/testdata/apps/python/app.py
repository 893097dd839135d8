# An app that waits for files in its home, with which a test says what happens
# when. It does what its path says.
import base64, hashlib, http.server, os, sys, threading, time

home = os.environ["HOME"]
version = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "version")).read().strip()


def path(name):
    return os.path.join(home, name)


def note(name, line):
    with open(path(name), "a") as f:
        f.write(line + "\n")


def await_file(name):
    while not os.path.exists(path(name)):
        time.sleep(0.01)


def crash():
    os.write(1, b"no luck today: \xff\n")
    print("there is no database at", version, flush=True)
    os._exit(7)


# A FIFO: opening it lasts until the test opens it, too.
note("starts", str(os.getpid()))
if os.path.exists(path("gate")):
    open(path("gate")).read()
if os.path.exists(path("broken")) and version != "good":
    crash()

lock = threading.Lock()
now = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/crash":
            crash()
        if self.path == "/work":
            return self.work()
        if self.headers.get("Upgrade"):
            return self.upgrade()
        self.say("version " + version if self.path == "/" else str(os.getpid()))

    def say(self, text):
        body = text.encode()
        self.send_response(200)
        if self.path == "/":
            body = b'<!doctype html><html lang="en"><title>app</title><h1>' + body + b"</h1></html>"
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # Notes how many are at work, and works until the file "go" is there.
    def work(self):
        global now
        with lock:
            now += 1
            note("work", str(now))
        await_file("go")
        with lock:
            now -= 1
        self.say("worked")

    # Repeats what it gets. At the end of that it says what its path says, and
    # never ends its own side.
    def upgrade(self):
        key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.wfile.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: test\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: " + accept + "\r\n\r\n").encode())
        while True:
            data = self.connection.recv(4096)
            if not data:
                break
            self.wfile.write(data)
        note("ended", self.path)
        if self.path == "/talks":
            for piece in (b"one,", b"two,", b"three"):
                self.wfile.write(piece)
        threading.Event().wait()

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", int(os.environ["PORT"])), Handler)
print("version", version, "listens", flush=True)
server.serve_forever()
