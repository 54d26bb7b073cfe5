"""The suite for postprocessors."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rompy_core._foreign import message_of, success_of
from rompy_core._model import ModelRun
from rompy_core._protocols import Postprocessor
from rompy_core.testing._claims import NO_MODEL_RUNS, claim, content_of, error_of, files_below


class PostprocessorContract:
    """What every postprocessor must keep. It is called as ``process(model_run, **options)``."""

    @pytest.fixture
    def postprocessor(self) -> Postprocessor:
        """Override: the postprocessor."""
        raise NotImplementedError("override the fixture 'postprocessor': give the postprocessor to test")

    @pytest.fixture
    def options(self) -> Mapping[str, Any]:
        """Override where it needs options: those to call it with, such as ``{"config": …}``."""
        return {}

    def make_outputs(self, workspace: Path) -> None:
        """Write the outputs of a run that it can process; override where it needs real ones."""
        (workspace / "out").mkdir()
        (workspace / "out" / "waves.txt").write_text("1.5 2.5\n")
        (workspace / "PRINT").write_bytes(b"normal end\xff\n")

    @pytest.fixture
    def process(self, postprocessor: Postprocessor, options: Mapping[str, Any]) -> Callable[[Any], Any]:
        """Call the postprocessor; not to be overridden."""
        return functools.partial(postprocessor.process, **options)

    @pytest.fixture
    def model_run(self, tmp_path: Path) -> ModelRun:
        """Give a model run that has outputs; not to be overridden."""
        model_run = ModelRun(run_id="contract", output_dir=tmp_path)
        self.make_outputs(model_run.generate())
        return model_run

    @claim
    def test_the_results_say_success(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """The results say by their success, a key or an attribute, whether it worked: True for good outputs."""
        results = process(model_run)

        assert not isinstance(results, bool), f"it gave {results!r}, which has no success"
        assert success_of(results) is True, f"it gave {results!r}"

    @claim
    def test_missing_outputs_are_a_failure(self, process: Callable[[Any], Any], tmp_path: Path) -> None:
        """A missing output directory is not raised: success is False, and the message names the directory."""
        results = process(ModelRun(run_id="missing", output_dir=tmp_path))

        assert success_of(results) is False, f"it gave {results!r}"
        assert "missing" in message_of(results), f"the directory is not named in: {message_of(results)!r}"
        assert not (tmp_path / "missing").exists(), "the directory was made"

    @claim
    def test_a_file_is_no_output_directory(self, process: Callable[[Any], Any], tmp_path: Path) -> None:
        """A file in place of the output directory is not raised: success is False, and the message names it."""
        (tmp_path / "in-the-way").write_text("")

        results = process(ModelRun(run_id="in-the-way", output_dir=tmp_path))

        assert success_of(results) is False, f"it gave {results!r}"
        assert "in-the-way" in message_of(results), f"the file is not named in: {message_of(results)!r}"

    @claim
    def test_what_is_no_model_run_is_refused(self, process: Callable[[Any], Any]) -> None:
        """None, or an object without a run_id, is a ValueError."""
        for wrong in NO_MODEL_RUNS:
            error_of(ValueError, process, wrong)

    @claim
    def test_the_outputs_stay_as_they_are(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """The outputs of the run are neither changed nor removed; new files may come."""
        before = {file: file.read_bytes() for file in files_below(model_run.workspace_dir)}

        process(model_run)

        lost = [file.name for file, content in before.items() if content_of(file) != content]
        assert not lost, f"changed or removed: {lost}"

    @claim
    def test_a_foreign_model_run_is_accepted(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """Any object with run_id and output_dir can be processed, whatever its class; output_dir may be text."""
        for output_dir in (model_run.output_dir, str(model_run.output_dir)):
            results = process(SimpleNamespace(run_id=model_run.run_id, output_dir=output_dir))

            assert success_of(results) is True, f"it gave {results!r}"

    @claim
    def test_the_caller_stays_as_it_is(self, process: Callable[[Any], Any], model_run: ModelRun) -> None:
        """The caller's working directory and environment stay as they were."""
        directory, environment = Path.cwd(), dict(os.environ)

        process(model_run)

        assert directory == Path.cwd(), f"the working directory is now {Path.cwd()}"
        assert environment == dict(os.environ), "the environment was changed"
