"""Complete the record of a run whose caller is gone."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs a start more than all the rest of this
    from typing import Any


def complete(report_path: str, outcome: dict[str, Any]) -> None:
    """Replace the report by one with how the run ended, unless the caller has completed it already."""
    # Here and not above: a run whose caller lives never needs them, and they cost as much as the rest of the start.
    import json
    from datetime import UTC, datetime

    try:
        with open(report_path, encoding="ascii") as file:
            report = json.load(file)
        if report.get("state") != "RUNNING":
            return
        report.update(outcome, ok=False, finished_at=datetime.now(UTC).isoformat())
        temporary = f"{report_path}.{os.getpid()}"
        with open(temporary, "w", encoding="ascii") as file:
            json.dump(report, file, indent=2)
        os.replace(temporary, report_path)
    except (OSError, ValueError):
        # The workspace is gone or full; there is nobody left to tell.
        return
