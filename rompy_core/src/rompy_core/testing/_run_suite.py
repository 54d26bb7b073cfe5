"""What every group of claims about run backends has."""

from __future__ import annotations

from typing import ClassVar


class RunSuite:
    """How patient the claims are; see ``RunBackendContract``."""

    patience_s: ClassVar[float] = 30.0
    timeout_s: ClassVar[float] = 1.5
    grace_s: ClassVar[float] = 0.75
