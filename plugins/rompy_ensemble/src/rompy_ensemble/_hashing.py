"""A hash of what a member computes from: of its model config, its period and its command, by value."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import os
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from pathlib import Path, PurePath
from typing import Any, Final, cast, final

import attrs

from rompy_core import TemplateConfig

_WHOLE: Final = 2**20
"""Bytes: files up to this size are hashed by what is in them, larger ones by their size and time of change."""
_DECIDING: Final = ("command", "dockerfile", "executable", "image")
"""The options of a run that say what is computed; all others say how, and may change."""


@final
class InputsHasher:
    """Hashes the inputs of members; reads a file that many of them name once."""

    def __init__(self) -> None:
        self._files: dict[Path, bytes] = {}
        self._directories: dict[Path, bytes] = {}

    def __call__(self, model_run: Any, options: Mapping[str, Any]) -> str:
        """Give the hash as 64 hexadecimal digits.

        Paths in the config that are files count by their content, and so do the files below the ``template_dir`` of a
        ``TemplateConfig``. Objects of any class count by their class and attributes. Where the workspace is does not
        count.

        Raises:
            OSError: A file that the config names cannot be read.
            RecursionError: The config contains itself.
        """
        digest = hashlib.sha256()
        deciding = {name: options[name] for name in _DECIDING if name in options}
        given = (getattr(model_run, "config", None), getattr(model_run, "period", None), deciding)
        for part in self._parts(given):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest()

    def _parts(self, value: Any) -> Iterator[bytes]:
        yield _kind_of(value).encode("utf-8", "surrogatepass")
        if value is None or isinstance(value, bool | int | float | complex | date | datetime | time | timedelta):
            yield repr(value).encode()
        elif isinstance(value, str):
            yield value.encode("utf-8", "surrogatepass")
        elif isinstance(value, bytes | bytearray):
            yield bytes(value)
        elif isinstance(value, PurePath):
            yield os.fsencode(value)
            yield self._content(Path(value))
        elif isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
            yield f"{value.__module__}.{value.__qualname__}".encode()
        elif hasattr(value, "tobytes") and hasattr(value, "dtype"):  # an array of numpy, or of its relatives
            yield f"{value.dtype}{value.shape}".encode()
            yield value.tobytes()
        else:
            yield from self._parts_of_many(value)

    def _parts_of_many(self, value: Any) -> Iterator[bytes]:
        items = _items_of(value)
        yield b"%d" % len(items)
        for name, item in items:
            yield name.encode("utf-8", "surrogatepass")
            yield from self._parts(item)
        if isinstance(value, TemplateConfig) and value.template_dir.is_dir():
            yield from self._below(value.template_dir)

    def _below(self, directory: Path) -> Iterator[bytes]:
        if directory not in self._directories:
            digest = hashlib.sha256()
            for folder, subfolders, files in os.walk(directory):
                subfolders.sort()
                for path in (Path(folder, name) for name in sorted(files)):
                    digest.update(os.fsencode(path.relative_to(directory)) + b"\0" + self._content(path))
            self._directories[directory] = digest.digest()
        yield self._directories[directory]

    def _content(self, path: Path) -> bytes:
        if path not in self._files:
            self._files[path] = _content_of(path)
        return self._files[path]


def _content_of(path: Path) -> bytes:
    if not path.is_file():
        return b""
    facts = path.stat()
    if facts.st_size > _WHOLE:
        return b"%d %d" % (facts.st_size, facts.st_mtime_ns)
    return hashlib.sha256(path.read_bytes()).digest()


def _kind_of(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _items_of(value: Any) -> Sequence[tuple[str, Any]]:
    """Give what an object holds, in an order that depends on nothing else."""
    if isinstance(value, enum.Enum):
        return [(value.name, None)]
    if isinstance(value, Mapping):
        table = cast("Mapping[object, object]", value)
        return sorted(((repr(key), item) for key, item in table.items()), key=lambda pair: pair[0])
    if isinstance(value, AbstractSet):
        return [(text, None) for text in sorted(map(repr, cast("AbstractSet[object]", value)))]
    if isinstance(value, Sequence):
        return [("", item) for item in cast("Sequence[object]", value)]
    return sorted(_attributes_of(value).items())


def _attributes_of(value: Any) -> dict[str, Any]:
    kind = cast("Any", type(value))
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(kind, "model_fields"):  # pydantic: beside the fields, it keeps notes about them
        names: Iterable[str] = kind.model_fields
        return {name: getattr(value, name) for name in names}
    slots = (name for cls in kind.__mro__ for name in _slots_of(cls))
    return {**{name: getattr(value, name, None) for name in slots}, **getattr(value, "__dict__", {})}


def _slots_of(cls: type[Any]) -> Sequence[str]:
    slots: str | Iterable[str] = vars(cls).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__")]
