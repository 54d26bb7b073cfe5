from __future__ import annotations

import pytest

from rompy_core import LocalPipelineBackend
from rompy_core.testing import PipelineBackendContract


class TestLocal(PipelineBackendContract):
    @pytest.fixture
    def pipeline(self) -> LocalPipelineBackend:
        return LocalPipelineBackend()
