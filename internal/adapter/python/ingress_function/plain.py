"""The function as a WSGI application without Flask: requests and answers have
what authors use of Flask's, from the standard library alone."""
from .request import HTTPError, Request
from .response import make


def application(function):
    def serve(environ, start_response):
        try:
            answer = make(call(function, Request(environ)), environ)
        except HTTPError as err:
            answer = make((err.text + "\n", err.status, {"Content-Type": "text/plain; charset=utf-8"}), environ)
        status, headers, parts = answer
        start_response(status, headers)
        return parts

    return serve


def call(function, request):
    answer = function(request)
    if not hasattr(answer, "__await__"):
        return answer
    import asyncio

    async def wait():
        return await answer

    return asyncio.run(wait())
