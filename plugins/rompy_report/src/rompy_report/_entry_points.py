"""What the entry point of this distribution refers to: a function that makes the postprocessor.

It imports the postprocessor only when it is called, so that asking for names costs nothing and nothing can fail here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rompy_report._postprocessor import ReportPostprocessor


def rompy_report() -> ReportPostprocessor:
    """Make the postprocessor ``report``, which writes what a run did on one page."""
    from rompy_report._postprocessor import ReportPostprocessor

    return ReportPostprocessor()
