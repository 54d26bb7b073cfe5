from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rompy_core.testing import RunBackendContract
from rompy_docker import DockerConfig, DockerRunBackend


class TestDocker(RunBackendContract):
    # A container takes a few tenths of a second to start, and more on a busy machine.
    timeout_s = 4.0

    @pytest.fixture
    def backend(self) -> DockerRunBackend:
        return DockerRunBackend()

    @pytest.fixture
    def config_for(self, engine: str, images: Any) -> Callable[..., DockerConfig]:
        def config(source: str, **options: Any) -> DockerConfig:
            return DockerConfig(engine=engine, image=images.python, executable=("python3", "-c", source), **options)

        return config

    @pytest.fixture
    def command_not_found(self, engine: str, images: Any) -> DockerConfig:
        return DockerConfig(engine=engine, image=images.busybox, executable="rompy-no-such-command")
