"""Loads the function and serves it."""
import os
import sys

from . import server


def run(here, args):
    if len(args) != 2:
        fail("usage: serve.py FILE ENTRYPOINT")
    file, entrypoint = args
    try:
        port = int(os.environ.get("PORT", ""))
    except ValueError:
        fail("PORT is not a port number.")
    from . import load

    function = load.function(here, file, entrypoint)
    try:
        listener = server.listen(port)
    except (OSError, OverflowError) as err:
        fail("cannot listen on port %d: %s" % (port, err))
    server.Server(listener, application(function)).serve()
    sys.exit(0)


def application(function):
    """Returns the function as a WSGI application. With Flask in the function's
    environment its requests and answers are Flask's own, which is what authors
    expect who installed it; without, they look like them."""
    try:
        import flask
    except ModuleNotFoundError as err:
        if err.name != "flask":
            raise
    else:
        from .with_flask import application as make

        return make(flask, function)
    from .plain import application as make

    return make(function)


def fail(message):
    sys.stderr.write(message + "\n")
    sys.exit(1)
