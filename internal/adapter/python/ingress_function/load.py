"""Finds the function in the author's source."""
import importlib.util
import os
import sys
import traceback


def function(here, file, entrypoint):
    """Returns the function, or says on standard error why there is none and ends
    the process with code 1."""
    module = load(here, file)
    found = module
    for part in entrypoint.split("."):
        found = getattr(found, part, None)
    if callable(found):
        return found
    sys.stderr.write(missing(module, file, entrypoint) + "\n")
    sys.exit(1)


def load(here, file):
    name = os.path.splitext(os.path.basename(file))[0]
    spec = importlib.util.spec_from_file_location(name, os.path.abspath(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as err:
        report(here, err)
        sys.exit(1)
    return module


def report(here, err):
    """Prints the traceback from where the author's own code begins."""
    tb = err.__traceback__
    while tb is not None and is_ours(here, tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    traceback.print_exception(type(err), err, tb)
    if isinstance(err, ModuleNotFoundError) and err.name:
        package = err.name.partition(".")[0]
        sys.stderr.write("If %s is a package, name it in requirements.txt.\n" % package)


def is_ours(here, filename):
    return filename.startswith("<frozen importlib") or os.path.abspath(filename).startswith(here + os.sep)


def missing(module, file, entrypoint):
    names = sorted(name for name, value in vars(module).items() if is_function(module, value))
    have = "It has: %s." % ", ".join(names) if names else "It has no function."
    return "%s has no function named %r. %s\nWrite def %s(request):, or deploy with the entrypoint you mean." % (
        file, entrypoint, have, entrypoint)


def is_function(module, value):
    return callable(value) and not isinstance(value, type) and getattr(value, "__module__", None) == module.__name__
