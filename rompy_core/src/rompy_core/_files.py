"""Read a table of options from a JSON, TOML or YAML file."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

from rompy_core._errors import ConfigError


def _yaml(text: str) -> object:
    try:
        import yaml
    except ImportError:
        raise ValueError('reading YAML needs PyYAML; install it with: pip install "rompy-core[yaml]"') from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc
    except Exception as exc:  # a malformed value may raise almost anything
        raise ValueError(f"holds a value that PyYAML cannot read: {type(exc).__name__}: {exc}") from exc


_READERS: Final[dict[str, Callable[[str], object]]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
}


def load_mapping(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the table in *path*; the ending of its name says how it is written.

    Raises:
        ConfigError: The file is missing, cannot be read, or holds no table.
    """
    path = Path(os.fsdecode(path))
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(str(path), [f"must end in {', '.join(_READERS)}, found {path.suffix!r}"])
    try:
        data = reader(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(str(path), [f"cannot be read: {exc.strerror or exc}"]) from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError(str(path), [str(exc) or type(exc).__name__]) from exc
    if not isinstance(data, dict):
        raise ConfigError(str(path), [f"must hold a table of names and values, found {type(data).__name__}"])
    return cast("dict[str, Any]", data)
