"""Stands in for the package functions-framework where it is not installed, so
that source written for it runs as it is."""


def http(func):
    """Marks an HTTP function, which is what every function is here."""
    return func


def cloud_event(func):
    raise TypeError("functions_framework.cloud_event: only HTTP functions are served here")


def typed(*args):
    raise TypeError("functions_framework.typed: only HTTP functions are served here")
