"""What a config is, and what of it is refused."""

from __future__ import annotations

import json
from typing import Any

from rompy_core._errors import ConfigError
from rompy_core._structure import structure_config, unstructure_config
from rompy_core.testing._bench import CountingRun, RunBench
from rompy_core.testing._claims import claim, error_of
from rompy_core.testing._run_suite import RunSuite


class ConfigClaims(RunSuite):
    """What a config is, and what of it is refused."""

    @claim
    def test_a_config_is_the_same_in_every_form(self, bench: RunBench) -> None:
        """A config has plain data that JSON can hold, and from which an equal one is made."""
        options: dict[str, Any] = {
            "timeout": 7,
            "memory": "512m",
            "env_vars": {"DEPTH": "3"},
            "working_dir": "grid",
            "rules": {"fatal": ["ERROR"], "required_files": ["*.nc"]},
        }
        config = bench.config_for("pass", **options)

        plain = json.loads(json.dumps(unstructure_config(config)))
        again = structure_config(plain, bench.backend.config_type)

        assert again == config, f"it is now {again!r}"

    @claim
    def test_an_unknown_option_is_refused(self, bench: RunBench) -> None:
        """An unknown option is a ConfigError that names it, before anything is generated or written."""
        model_run = CountingRun(bench.directory / "runs")

        error = error_of(ConfigError, bench.backend.run, model_run, bench.config_for("pass"), no_such_option=1)

        assert "no_such_option" in str(error), f"the option is not named in: {error}"
        assert not model_run.generated, "the inputs were generated"
        assert not model_run.output_dir.exists(), "something was written"

    @claim
    def test_every_problem_is_told_at_once(self, bench: RunBench) -> None:
        """Several bad options are one ConfigError that names each of them, before anything is generated or written."""
        model_run = CountingRun(bench.directory / "runs")
        bad: dict[str, object] = {"timeout": -1, "working_dir": 5, "no_such_option": 1}

        error = error_of(ConfigError, bench.backend.run, model_run, **bad)

        for name in bad:
            assert name in str(error), f"{name} is not named in: {error}"
        assert not model_run.generated, "the inputs were generated"
        assert not model_run.output_dir.exists(), "something was written"

    @claim
    def test_a_guarantee_that_is_missing_is_refused(self, bench: RunBench) -> None:
        """A run that requires what does not hold is a ConfigError that names it, before anything is written."""
        model_run = CountingRun(bench.directory / "runs")
        config = bench.config_for("pass", require=["no-such-guarantee"])

        error = error_of(ConfigError, bench.backend.run, model_run, config)

        assert "no-such-guarantee" in str(error), f"the guarantee is not named in: {error}"
        assert not model_run.generated, "the inputs were generated"
        assert not model_run.output_dir.exists(), "something was written"
