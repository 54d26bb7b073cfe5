"""The small process beside each run: starts the command, keeps its limits, ends it whole, and outlives its caller.

It runs under ``python -I -S`` and imports the standard library and itself alone (and of the core ``StallDetector``, for
a run that has a ``stall_timeout``), as few modules as will do: its start is most of what a supervised run costs. The
caller talks to it over its standard input and output (``_frames``).
"""


def main() -> None:
    """Supervise one command; see ``_loop.Supervisor``."""
    from rompy_local._supervisor._loop import serve

    serve(0, 1)
