from __future__ import annotations

import pytest

from rompy_core.testing import PostprocessorContract
from rompy_report import ReportPostprocessor


class TestReport(PostprocessorContract):
    @pytest.fixture
    def postprocessor(self) -> ReportPostprocessor:
        return ReportPostprocessor()
