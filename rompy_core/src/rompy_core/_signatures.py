"""What a callable of other hands takes, as far as it says so."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import attrs

from rompy_core._problems import nearest, step_to


@attrs.frozen
class Signature:
    """What a callable takes by keyword.

    Attributes:
        names: The parameters, each with whether it must be given.
        is_open: Whether it takes any other keyword as well.
        positional: The parameters that are given by position.
    """

    names: Mapping[str, bool]
    is_open: bool
    positional: Collection[str]

    @property
    def required(self) -> list[str]:
        """The parameters that must be given."""
        return [name for name, is_required in self.names.items() if is_required]

    def takes(self, name: object) -> bool:
        """Whether *name* can be given."""
        return name in self.names or (self.is_open and isinstance(name, str) and name not in self.positional)

    def unknown(self, options: Mapping[str, Any], owner: str) -> list[str]:
        """Find options that cannot be given, each as the line of a ``ConfigError``, with the nearest known one."""
        return [
            f"{step_to(option)}: {owner} has no such option{nearest(str(option), self.names)}"
            for option in cast("Mapping[object, object]", options)
            if not self.takes(option)
        ]


def signature_of(call: Callable[..., Any], *, positional: int = 0) -> Signature | None:
    """Read the signature of *call*, whose first *positional* parameters are given by position.

    Returns:
        ``None`` where it does not say, as some callables of extension modules.
    """
    # Plugins are made anew for every call: what their classes and methods take is read once.
    if isinstance(call, types.MethodType) and isinstance(call.__func__, types.FunctionType):
        return _of_method(call.__func__, positional)
    return _of_class(cast("Any", call), positional) if type(call) is type else _read(call, positional)


@functools.lru_cache(maxsize=256)
def _of_method(function: types.FunctionType, positional: int) -> Signature | None:
    return _read(types.MethodType(function, object()), positional)


@functools.lru_cache(maxsize=256)
def _of_class(cls: type[Any], positional: int) -> Signature | None:
    return _read(cls, positional)


def _read(call: Callable[..., Any], positional: int) -> Signature | None:
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return None
    named = [p for p in parameters[positional:] if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return Signature(
        names={p.name: p.default is p.empty for p in named},
        is_open=any(p.kind is p.VAR_KEYWORD for p in parameters),
        positional=[p.name for p in parameters[:positional]],
    )


def names_parameter(call: Callable[..., Any], name: str) -> bool:
    """Whether *call* has a parameter of that name after its first one; ``**kwargs`` does not count."""
    signature = signature_of(call, positional=1)
    return signature is not None and name in signature.names
