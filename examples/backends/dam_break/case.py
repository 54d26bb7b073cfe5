"""The inputs of the dam break, and what success, failure and progress of the model look like."""

import json
import shutil
from pathlib import Path
from typing import Final

import attrs

from rompy_core import OutputRules

MODEL: Final = Path(__file__).with_name("model.py")

RULES: Final = OutputRules(
    required_files="*.sww",
    fatal=r"^\w[\w.]*(Error|Exception)\b",  # the last line of a Python traceback: it says what went wrong
    progress=r"^Time = (?P<current>[\d.]+) / (?P<total>[\d.]+)$",
)
"""ANUGA is a Python library: an exit code of 0 is a good sign, a written ``.sww`` and no exception are a better one."""


@attrs.frozen(kw_only=True)
class DamBreak:
    """Water of one depth is released onto water of another, in a frictionless channel.

    A model config is any object with ``generate``; rompy-core asks for no base class.

    Attributes:
        upstream_m: Depth of the water behind the dam, at x < 500 m.
        downstream_m: Depth of the water before the dam.
        duration_s: How long the model runs; the waves must not reach the ends of the channel (50 s here).
        output_every_s: The time between two outputs.
        cells: Squares along the channel; each is cut into four triangles.
    """

    upstream_m: float = 10.0
    downstream_m: float = 2.0
    duration_s: float = 30.0
    output_every_s: float = 1.0
    cells: int = 200

    def generate(self, workspace_dir: Path, model_run: object) -> None:  # noqa: ARG002 - rompy-core passes both
        """Write the case, and the model itself: the workspace is all that a run needs, also in a container."""
        case = json.dumps(attrs.asdict(self), indent=2)
        (workspace_dir / "case.json").write_text(f"{case}\n", encoding="utf-8")
        shutil.copyfile(MODEL, workspace_dir / MODEL.name)
