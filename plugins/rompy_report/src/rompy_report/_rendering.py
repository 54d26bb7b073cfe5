"""From values to one HTML page that needs nothing else: no other file, no network, no script but a sorted table's.

Every expression of a template passes ``_finalized``, and is escaped after that: recorded text is text on the page,
whatever it holds. The policy in each page's head forbids all that the page itself does not bring.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import attrs
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rompy_core import RunState
from rompy_report import _text

_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@attrs.frozen(kw_only=True)
class Verdict:
    """A state as the page shows it: a word, an icon and a colour that say the same.

    Attributes:
        word: What people read.
        kind: The colour: ``good``, ``bad``, ``warn`` or ``calm``.
        icon: The shape, by its name in the templates.
        rank: Where it stands in a list that begins with what needs a look.
    """

    word: str
    kind: str
    icon: str
    rank: int


VERDICTS: Final[Mapping[RunState | None, Verdict]] = {
    RunState.FAILED: Verdict(word="Failed", kind="bad", icon="cross", rank=0),
    RunState.OUT_OF_MEMORY: Verdict(word="Out of memory", kind="bad", icon="cross", rank=1),
    RunState.LIMIT_EXCEEDED: Verdict(word="Limit exceeded", kind="bad", icon="cross", rank=2),
    RunState.TIMED_OUT: Verdict(word="Timed out", kind="bad", icon="clock", rank=3),
    RunState.STALLED: Verdict(word="Stalled", kind="bad", icon="clock", rank=4),
    RunState.NOT_STARTED: Verdict(word="Not started", kind="bad", icon="cross", rank=5),
    RunState.LOST: Verdict(word="Lost", kind="warn", icon="bang", rank=6),
    RunState.CANCELLED: Verdict(word="Cancelled", kind="warn", icon="bang", rank=7),
    RunState.RUNNING: Verdict(word="Running", kind="calm", icon="dots", rank=8),
    RunState.COMPLETED: Verdict(word="Completed", kind="good", icon="check", rank=9),
    None: Verdict(word="No record", kind="calm", icon="dots", rank=10),
}


def render(template: str, **values: Any) -> str:
    """Render one of the templates."""
    script = _script() if template == "compare.html" else ""
    policy = f"{_POLICY}; script-src 'sha256-{_digest(script)}'" if script else _POLICY
    page = _environment().get_template(template)
    return page.render(
        policy=policy,
        script=Markup(script),  # noqa: S704 - ours, and nothing of it depends on any value
        made_at=datetime.now(UTC),
        version=version("rompy-report"),
        **values,
    )


def data_uri(png: bytes) -> str:
    """Give a picture as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rompy_report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {"size": _text.size, "duration": _text.duration, "moment": _text.moment}
    environment.filters.update(filters)
    return environment


def _finalized(value: object) -> object:
    """Make recorded text visible; what a template has made is markup by then, and stays as it is."""
    if value is None:
        return ""
    return value if isinstance(value, Markup | int | float) else _text.visible(str(value))


@functools.cache
def _script() -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), "sort.js")[0]


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
