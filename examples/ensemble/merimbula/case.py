"""The inputs of one member, and what success, failure and progress of the model look like."""

import json
import shutil
import sys
from pathlib import Path
from typing import Final

import attrs

from rompy_core import OutputRules

MODEL: Final = Path(__file__).with_name("model.py")
COMMAND: Final = (sys.executable, "model.py", "case.json")

RULES: Final = OutputRules(
    required_files="lake.sww",
    fatal=r"^\w[\w.]*(Error|Exception)\b",  # the last line of a Python traceback: it says what went wrong
    progress=r"^Time = (?P<current>[\d.]+) / (?P<total>[\d.]+)$",
)


@attrs.frozen(kw_only=True)
class Merimbula:
    """The tide at the open edge of Merimbula Lake.

    Attributes:
        amplitude: Of the tide, in metres.
        friction: Manning's coefficient of the bed.
        duration_s: How long the model runs.
        output_every_s: The time between two outputs.
    """

    amplitude: float = 0.5
    friction: float = 0.03
    duration_s: float = 600.0
    output_every_s: float = 60.0

    def generate(self, workspace_dir: Path, model_run: object) -> None:  # noqa: ARG002 - rompy-core passes both
        """Write the case, and the model itself: the workspace is all that a run needs."""
        case = json.dumps(attrs.asdict(self), indent=2)
        (workspace_dir / "case.json").write_text(f"{case}\n", encoding="utf-8")
        shutil.copyfile(MODEL, workspace_dir / MODEL.name)
