"""For mkdocs: put each public name of a package where its page says ``<!-- names of PACKAGE -->``."""

from __future__ import annotations

import importlib
import re
from typing import Any

_MARK = re.compile(r"<!-- names of ([\w.]+) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Give the page with a section for each name of ``__all__``."""
    return _MARK.sub(lambda found: _names(found[1]), markdown)


def _names(package: str) -> str:
    module = importlib.import_module(package)
    intro = f"::: {package}\n    options:\n      members: []\n      show_root_heading: false\n"
    return "\n".join([intro, *(f"## `{name}`\n\n::: {package}.{name}\n" for name in module.__all__)])
