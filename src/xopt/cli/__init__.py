"""The command line."""

from xopt.cli.app import app, main

__all__ = ["app", "main"]
