"""The function as a Flask application of one view that answers everything."""
import os

from .answer import REASONS
from .body import MAX_BODY
from .head import Refusal


def application(flask, function):
    app = flask.Flask("function", root_path=os.getcwd(), static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY

    # Before routing: whatever the path and the method, it is the function's.
    @app.before_request
    def view():
        answer = app.ensure_sync(function)(flask.request._get_current_object())
        if answer is None:
            raise TypeError("the function returned None; return a text, a dict, a tuple or a response")
        return answer

    # What is wrong with the body shows when the function reads it.
    @app.errorhandler(Refusal)
    def refuse(refusal):
        return REASONS[refusal.status] + "\n", refusal.status, {"Content-Type": "text/plain; charset=utf-8"}

    return app
