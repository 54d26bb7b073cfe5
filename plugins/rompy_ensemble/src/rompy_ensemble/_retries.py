"""Which endings are tried again, when, and with what changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import attrs

from rompy_core import RunState, fields

_RETRIED: Final = tuple(
    state for state in RunState if state.is_final and state not in (RunState.COMPLETED, RunState.CANCELLED)
)


def _to_states(value: object) -> Any:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, Iterable):
        return value
    known = {state.value: state for state in RunState}
    return tuple(known.get(str(item).upper(), item) for item in cast("Iterable[object]", value))


def _states(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    states = cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()
    if not states or any(state not in (*_RETRIED, RunState.CANCELLED) for state in states):
        raise ValueError(f"must be some of {', '.join(_RETRIED)}, CANCELLED, found {value!r}")


def _count(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"must be a whole number >= 0, found {value!r}")


def _factor(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    if not fields.is_number(value) or value < 1:
        raise ValueError(f"must be a number >= 1, found {value!r}")


def _factors(_: Any, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a table of options and factors, found {value!r}")  # noqa: TRY004 - as other options
    for name, factor in cast("Mapping[object, object]", value).items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"must name options, found {name!r}")
        _factor(None, attribute, factor)


@attrs.frozen(kw_only=True)
class RetryRule(fields.Checked):
    """How members are tried again that ended in one of some states.

    Of several rules, the first that names the state counts; each has a budget of its own for each member.

    Attributes:
        times: How often a member is tried again by this rule, in one start of the ensemble.
        states: The states, as ``RunState`` or by their names. The default is all that are neither success nor
            ``CANCELLED``.
        wait_s: Seconds before the first retry.
        backoff: What the wait is multiplied by for each further one.
        longest_wait_s: No wait is longer, in seconds.
        scale: Options of the run backend that grow with each retry, and by which factor: ``{"memory": 1.5}``. What
            earlier starts of the ensemble found out about the same inputs is kept: a member that ran out of memory then
            does not begin with as little again.
    """

    times: int = attrs.field(default=1, validator=_count)
    states: tuple[RunState, ...] = attrs.field(default=_RETRIED, converter=_to_states, validator=_states)
    wait_s: float = attrs.field(default=0.0, converter=fields.to_float, validator=fields.not_negative)
    backoff: float = attrs.field(default=2.0, converter=fields.to_float, validator=_factor)
    longest_wait_s: float = attrs.field(default=300.0, converter=fields.to_float, validator=fields.not_negative)
    scale: Mapping[str, float] = attrs.field(factory=dict[str, float], converter=fields.to_table, validator=_factors)

    def wait_before(self, retry: int) -> float:
        """Give the seconds before a retry, counted from 1."""
        try:
            return min(self.wait_s * self.backoff ** (retry - 1), self.longest_wait_s)
        except OverflowError:
            return self.longest_wait_s


def rule_for(rules: Sequence[RetryRule], state: RunState) -> int | None:
    """Give the number of the first rule that names *state*, or ``None``."""
    return next((number for number, rule in enumerate(rules) if state in rule.states), None)


def to_rules(value: object) -> Any:
    """Turn a number of retries, or one rule, into a tuple of rules; leave the rest to the validator."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (RetryRule(times=value),) if value else ()
    if isinstance(value, RetryRule):
        return (value,)
    return tuple(cast("list[object]", value)) if isinstance(value, list) else value


def check_rules(_: Any, __: attrs.Attribute[Any], value: object) -> None:
    """Accept a tuple of rules."""
    rules = cast("tuple[object, ...]", value) if isinstance(value, tuple) else None
    if rules is None or not all(isinstance(rule, RetryRule) for rule in rules):
        raise ValueError(f"must be a number of retries, a RetryRule or a list of them, found {value!r}")


def unscalable(rules: Sequence[RetryRule], options: Mapping[str, Any]) -> list[str]:
    """Say which options cannot be scaled, for they are not given or are no numbers."""
    names = {name: (number, rule) for number, rule in enumerate(rules) for name in rule.scale}
    problems: list[str] = []
    for name, (number, _) in names.items():
        try:
            base_value(name, options)
        except ValueError as exc:
            problems.append(f"retries[{number}].scale[{name!r}]: {exc}")
    return problems


def scaled(rules: Sequence[RetryRule], options: Mapping[str, Any], endings: Iterable[RunState]) -> dict[str, Any]:
    """Give those options that have grown after *endings*, with their values; whole numbers stay whole."""
    factors: dict[str, float] = {}
    for ending in endings:
        number = rule_for(rules, ending)
        if number is None:
            continue
        for name, factor in rules[number].scale.items():
            factors[name] = factors.get(name, 1.0) * factor
    return {name: _times(base_value(name, options), factor) for name, factor in factors.items()}


def base_value(name: str, options: Mapping[str, Any]) -> int | float:
    """Give the value that an option starts from; sizes such as ``"4g"`` are read as bytes.

    Raises:
        ValueError: It is not given, or is no number.
    """
    value = options.get(name, getattr(options.get("config"), name, None))
    if value is None:
        raise ValueError(f"run_kwargs must have a {name!r} to start from")
    if isinstance(value, str):
        size = fields.to_bytes(value)
        return size if size is not None else 0
    if not fields.is_number(value):
        raise ValueError(f"run_kwargs[{name!r}] must be a number or a size, found {value!r}")
    return value


def _times(value: float, factor: float) -> int | float:
    return math.ceil(value * factor) if isinstance(value, int) else value * factor
