"""Accepts connections, each served by a thread of its own, until a signal ends
it: then the requests in flight get their answers."""
import select
import signal
import socket
import sys
import threading

from .connection import Connection

BACKLOG = 511


def listen(port):
    """Listens on the loopback interface only."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


class Server:
    def __init__(self, listener, application):
        self.listener = listener
        self.application = application
        self.port = listener.getsockname()[1]
        self.draining = False
        self.changed = threading.Condition()
        self.open = set()      # connections with a thread
        # Those that wait for a request see that closing has ended.
        self.closing, self.close = socket.socketpair()

    def serve(self):
        """Serves until SIGTERM or SIGINT, and then until every request that came
        before has its answer."""
        wake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while not any(ready == wake.fileno() and self.ends(wake) for ready, _ in poll.poll()):
            self.accept()
        self.drain()

    @staticmethod
    def ends(wake):
        return any(number in (signal.SIGTERM, signal.SIGINT) for number in wake.recv(64))

    def accept(self):
        """Takes one connection and reports whether there was one."""
        try:
            sock, _ = self.listener.accept()
        except (BlockingIOError, ConnectionError):
            return False  # there is none, or it has gone
        except OSError as err:  # no file is left for it: wait until there is
            sys.stderr.write("a connection has to wait: %s\n" % err)
            with self.changed:
                self.changed.wait(1)
            return False
        sock.setblocking(True)
        connection = Connection(self, sock)
        with self.changed:
            self.open.add(connection)
        thread = threading.Thread(target=self.run, args=(connection,), daemon=True)
        try:
            thread.start()
        except RuntimeError as err:  # no thread is left for it
            sys.stderr.write("a connection was closed: %s\n" % err)
            sock.close()
            self.forget(connection)
        return True

    def run(self, connection):
        try:
            connection.run()
        finally:
            self.forget(connection)

    def forget(self, connection):
        with self.changed:
            self.open.discard(connection)
            self.changed.notify_all()

    def request_comes(self, sock, seconds):
        """Waits for a connection's next request and reports whether it has begun."""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        poll.register(self.closing, select.POLLIN)
        return any(ready == sock.fileno() for ready, _ in poll.poll(seconds * 1000))

    def drain(self):
        while self.accept():
            pass  # those who were let in by the system, before the door closes
        self.listener.close()
        self.draining = True
        self.close.close()
        with self.changed:
            self.changed.wait_for(lambda: not self.open)
