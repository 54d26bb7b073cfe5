"""What a machine or an engine guarantees, and the early refusal of a run that demands what is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from rompy_core._errors import ConfigError


@attrs.frozen
class Capability:
    """One guarantee; its truth value says whether it holds here.

    Attributes:
        holds: Whether it does.
        detail: How it is kept, or what is missing.
    """

    holds: bool
    detail: str

    def __bool__(self) -> bool:
        return self.holds


def refuse_missing(config_name: str, required: Iterable[str], offered: Mapping[str, Capability]) -> None:
    """Refuse a run that requires what is not offered.

    Args:
        config_name: The class of the config, for the error.
        required: The names of the guarantees, as the option ``require`` has them.
        offered: All guarantees by their names.

    Raises:
        ConfigError: With each guarantee that is not known or does not hold.
    """
    problems = [
        f"require: {name!r} does not hold here: {offered[name].detail}"
        if name in offered
        else f"require: no guarantee is called {name!r}; known: {', '.join(offered)}"
        for name in required
        if not offered.get(name)
    ]
    if problems:
        raise ConfigError(config_name, problems)
