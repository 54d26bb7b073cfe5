"""What is said of a run that exceeded a limit which every backend keeps: the same words from all of them."""

from __future__ import annotations


def limit_reasons(*, timeout: float | None, stall_timeout: float | None, log_size_limit: int | None) -> dict[str, str]:
    """Give the sentence for each limit that is kept by watching, by the name of its option.

    They are made before the run starts, for whoever ends it may be a process that imports as little as it can.

    Args:
        timeout: The wall-clock limit, seconds.
        stall_timeout: The longest time without growth, seconds.
        log_size_limit: The largest size of the captured output, bytes.

    Returns:
        Only the limits that are set.
    """
    reasons: dict[str, str] = {}
    if timeout is not None:
        reasons["timeout"] = f"exceeded its timeout of {timeout:.6g} s"
    if stall_timeout is not None:
        reasons["stall_timeout"] = f"neither its output nor a file of the workspace grew for {stall_timeout:.6g} s"
    if log_size_limit is not None:
        reasons["log_size_limit"] = f"its output exceeded log_size_limit ({log_size_limit} bytes)"
    return reasons
