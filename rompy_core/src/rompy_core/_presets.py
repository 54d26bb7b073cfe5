"""Rules by a model's name, as plain data; the source of each pattern stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {}
