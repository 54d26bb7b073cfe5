"""The signal module without its enums: they take as long to import as all the rest of the supervisor."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal  # noqa: PLC0414 - handed on
else:
    import _signal as signal

__all__ = ["signal"]
