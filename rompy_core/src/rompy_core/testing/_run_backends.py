"""The suite for run backends: its fixtures, and all its claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rompy_core._protocols import SubmittingBackend
from rompy_core._structure import structure_config
from rompy_core.testing._bench import ConfigFor, RunBench, processes_with
from rompy_core.testing._callers import CallerClaims
from rompy_core.testing._configs import ConfigClaims
from rompy_core.testing._ends import EndClaims
from rompy_core.testing._handles import HandleClaims
from rompy_core.testing._outputs import OutputClaims
from rompy_core.testing._refusals import RefusalClaims
from rompy_core.testing._rules import RuleClaims
from rompy_core.testing._workspaces import WorkspaceClaims


class RunBackendContract(
    EndClaims, RefusalClaims, ConfigClaims, WorkspaceClaims, CallerClaims, OutputClaims, HandleClaims, RuleClaims
):
    """What every ``SubmittingBackend`` must keep.

    Attributes:
        patience_s: How long to wait for what must come, seconds. Only a broken promise costs as much.
        timeout_s: The wall-clock limit where that is tested; a tree of three processes must be up within it.
        grace_s: The grace where that is tested, and how much later than promised an end may come on a busy machine.
    """

    @pytest.fixture
    def backend(self) -> SubmittingBackend[Any]:
        """Override: the backend."""
        raise NotImplementedError("override the fixture 'backend': give the backend to test")

    @pytest.fixture
    def config_for(self) -> ConfigFor:
        """Override: a function of the text of a Python program, and of options, that gives a config to run it."""
        raise NotImplementedError("override the fixture 'config_for': give a function (source, **options) -> config")

    @pytest.fixture
    def command_not_found(self, backend: SubmittingBackend[Any]) -> Any:
        """Override where configs have no ``command``, or a launcher gets it: a config of what cannot be started."""
        return structure_config({"command": ["rompy-no-such-command"]}, backend.config_type)

    def live_processes(self, token: str) -> list[str]:
        """Give a line for each living process of a run that has *token* in its command line and its environment.

        Override where the runs are not processes of the caller's machine, or cannot be seen from there.
        """
        return processes_with(token)

    @pytest.fixture
    def bench(self, backend: SubmittingBackend[Any], config_for: ConfigFor, tmp_path: Path) -> RunBench:
        """Give what the claims are put to the test with; not to be overridden."""
        return RunBench(
            backend=backend,
            config_for=config_for,
            directory=tmp_path,
            live_processes=self.live_processes,
            patience_s=self.patience_s,
        )
