"""Conformance suites for plugin authors: what every caller may rely on, as tests to inherit.

They need pytest: ``pip install "rompy-core[testing]"``. Subclass the suite for your kind of plugin in a test module
and override its fixtures; every ``test_…`` method of the suite is then a test of your plugin::

    import sys
    from collections.abc import Callable

    import pytest
    from rompy_core.testing import RunBackendContract
    from rompy_queue import QueueBackend, QueueConfig


    class TestQueue(RunBackendContract):
        @pytest.fixture
        def backend(self) -> QueueBackend:
            return QueueBackend()

        @pytest.fixture
        def config_for(self) -> Callable[..., QueueConfig]:
            return lambda source, **options: QueueConfig(command=(sys.executable, "-c", source), **options)

``config_for`` gives the config of a run that executes *source*, a Python program, in whatever Python the backend
offers. The programs use the standard library only, and talk to the test through files in the directory in which the
command starts, which is the workspace. They need not be processes of this machine: see ``live_processes``. One claim
starts a run from a process of its own and kills that: backend and config go there by pickle.

The config takes the options that all run backends have; one that your backend cannot keep is refused by its ``check``.

A claim that fails says in one sentence which promise was broken, and what was found. A promise that your plugin cannot
keep for a good reason is left out by name, ``test_… = None``, with the reason beside it.
"""

from rompy_core.testing._claims import wait_until
from rompy_core.testing._pipelines import PipelineBackendContract
from rompy_core.testing._postprocessors import PostprocessorContract
from rompy_core.testing._run_backends import RunBackendContract

__all__ = ["PipelineBackendContract", "PostprocessorContract", "RunBackendContract", "wait_until"]
