"""A function in Python: JSON in, JSON out.

    ingress function deploy greet --runtime python --dir examples/python-function
    ingress function call greet name=Jane
"""
import os


def greet(request):
    given = request.get_json(silent=True)
    name = given.get("name") if isinstance(given, dict) else request.args.get("name")
    if name is not None and not isinstance(name, str):
        return {"error": "name must be a text"}, 400
    return {"message": "%s %s" % (os.environ.get("GREETING", "Hello"), name or "World")}
