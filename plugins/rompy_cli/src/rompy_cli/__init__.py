"""The command ``rompyrun``: run models from files; list, show, follow and cancel their runs."""

from rompy_cli._main import main

__all__ = ["main"]
