from __future__ import annotations

import pytest

from rompy_core import NoopPostprocessor
from rompy_core.testing import PostprocessorContract


class TestNoop(PostprocessorContract):
    @pytest.fixture
    def postprocessor(self) -> NoopPostprocessor:
        return NoopPostprocessor()
