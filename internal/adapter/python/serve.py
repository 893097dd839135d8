"""Serves one function over HTTP: python serve.py FILE ENTRYPOINT, started in the
folder of the function's source, with the port in PORT. It belongs to the ingress
and needs nothing that is not part of Python."""
import os
import sys

here = sys.path[0]

from ingress_function import main  # noqa: E402  (beside this file)

# The author's modules are found first, what stands in for missing ones last.
sys.path[0] = os.getcwd()
sys.path.append(os.path.join(here, "stand_in"))
main.run(here, sys.argv[1:])
