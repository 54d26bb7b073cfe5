"""Both libraries in one environment, whichever was installed first: neither is in the other's way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rompy.model
from rompy.backends import LocalConfig
from rompy.pipeline import LocalPipelineBackend as TheirPipeline
from rompy.postprocess import NoopPostprocessor as TheirNoop
from rompy.postprocess.config import NoopPostprocessorConfig
from rompy.run import LocalRunBackend as TheirLocal
from rompy.run.docker import DockerRunBackend as TheirDocker
from rompy.run.slurm import SlurmRunBackend as TheirSlurm

from rompy_core import LocalPipelineBackend, NoopPostprocessor, list_plugins, load_plugin
from rompy_docker import DockerRunBackend
from rompy_local import LocalRunBackend
from rompy_slurm import SlurmRunBackend


def test_their_registries_have_all_of_their_own_plugins() -> None:
    assert rompy.model.RUN_BACKENDS.items() >= {"local": TheirLocal, "docker": TheirDocker, "slurm": TheirSlurm}.items()
    assert rompy.model.POSTPROCESSORS["noop"] is TheirNoop
    assert rompy.model.PIPELINE_BACKENDS["local"] is TheirPipeline
    assert {"datamesh", "noop"} <= set(rompy.model.POSTPROCESSORS)
    assert {"prax", "local"} <= set(rompy.model.PIPELINE_BACKENDS)


def test_ours_are_in_their_registries_by_names_that_nobody_else_has() -> None:
    registries = [rompy.model.RUN_BACKENDS, rompy.model.POSTPROCESSORS, rompy.model.PIPELINE_BACKENDS]

    ours = {
        name: type(made()).__name__ for names in registries for name, made in names.items() if name.startswith("rompy_")
    }

    assert ours == {
        "rompy_local": "LocalRunBackend",
        "rompy_docker": "DockerRunBackend",
        "rompy_slurm": "SlurmRunBackend",
        "rompy_core_noop": "NoopPostprocessor",
        "rompy_core_local": "LocalPipelineBackend",
    }
    assert isinstance(rompy.model.RUN_BACKENDS["rompy_local"](), LocalRunBackend)


def test_their_import_loads_no_code_of_ours_that_could_fail(run_beside: Callable[..., str]) -> None:
    code = (
        "import json, sys, rompy.model; ours = ('rompy_core', 'rompy_local', 'rompy_docker');"
        "print(json.dumps([name for name in sys.modules if name.startswith(ours)]))"
    )

    loaded = run_beside(code)

    assert set(json.loads(loaded)) == {
        "rompy_core", "rompy_core._entry_points", "rompy_docker", "rompy_docker._entry_points",
        "rompy_local", "rompy_local._entry_points",
    }  # fmt: skip


def test_their_pipeline_behaves_as_before(their_run: Callable[..., Any]) -> None:
    results = their_run().pipeline(
        "local", backend_config=LocalConfig(command="true"), processor=NoopPostprocessorConfig()
    )

    assert {name: results[name] for name in ("success", "backend", "processor", "message")} == {
        "success": True,
        "backend": "local",
        "processor": "noop",
        "message": "Pipeline completed successfully",
    }
    with pytest.raises(ValueError, match="backend_config is required"):
        their_run().pipeline("local")
    with pytest.raises(TypeError, match="backend_config must be"):
        their_run().pipeline("local", backend_config="local")
    with pytest.raises(ValueError, match="Unknown pipeline backend: zzz"):
        their_run().pipeline("zzz")


def test_their_runs_behave_as_before(their_run: Callable[..., Any]) -> None:
    assert their_run().run(LocalConfig(command="true")) is True
    assert their_run().run(LocalConfig(command="false")) is False
    assert not (Path(their_run().output_dir) / "case" / ".rompy").exists()


def test_our_pipeline_in_the_place_of_theirs_takes_what_they_pass(
    their_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rompy.model.PIPELINE_BACKENDS["rompy_core_local"]
    monkeypatch.setitem(rompy.model.PIPELINE_BACKENDS, "local", made)

    results = their_run().pipeline(
        "local", backend_config=LocalConfig(command="true"), processor=NoopPostprocessorConfig()
    )

    assert (results["success"], results["backend"], results["processor"]) == (True, "local", "noop")
    assert results["stages_completed"] == ["generate", "run", "postprocess"]
    assert their_run().pipeline("rompy_core_local", run_backend="local", run_kwargs={"command": "true"})["success"]


@pytest.mark.parametrize(
    ("group", "name", "ours", "theirs"),
    [
        ("rompy.run", "local", LocalRunBackend, TheirLocal),
        ("rompy.run", "docker", DockerRunBackend, TheirDocker),
        ("rompy.run", "slurm", SlurmRunBackend, TheirSlurm),
        ("rompy.postprocess", "noop", NoopPostprocessor, TheirNoop),
        ("rompy.pipeline", "local", LocalPipelineBackend, TheirPipeline),
    ],
)
def test_a_bare_name_is_ours_and_each_can_be_asked_for(group: str, name: str, ours: type, theirs: type) -> None:
    [distribution] = {
        info.distribution for info in list_plugins(group) if info.name == name and info.distribution != "rompy"
    }

    assert type(load_plugin(group, name)) is ours
    assert type(load_plugin(group, f"{name}@{distribution}")) is ours
    assert type(load_plugin(group, f"{name}@rompy")) is theirs


def test_their_backend_runs_our_model_run(our_run: Callable[..., Any]) -> None:
    config = LocalConfig(command="touch out.nc")

    assert our_run().run("local@rompy", config=config) is True

    assert (our_run().workspace_dir / "out.nc").exists()


def test_listing_tells_of_both_and_imports_none(run_beside: Callable[..., str]) -> None:
    code = (
        "import sys; from rompy_core import list_plugins;"
        "print([(i.name, i.distribution) for i in list_plugins('rompy.run')], 'rompy' in sys.modules)"
    )

    printed = run_beside(code)

    listed = [("docker", "rompy"), ("docker", "rompy-docker"), ("local", "rompy"), ("local", "rompy-local")]
    assert printed == f"{[*listed, ('slurm', 'rompy'), ('slurm', 'rompy-slurm')]} False"


def test_a_run_of_ours_does_not_import_theirs(run_beside: Callable[..., str], tmp_path: Path) -> None:
    code = (
        "import sys, rompy_core;"
        "rompy_core.ModelRun(run_id='a', output_dir=sys.argv[1]).pipeline(run_kwargs={'command': 'true'});"
        "print([name for name in ('rompy', 'pydantic', 'xarray') if name in sys.modules])"
    )

    assert run_beside(code, tmp_path / "out") == "[]"
