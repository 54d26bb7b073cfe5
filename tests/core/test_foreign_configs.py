from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_core import (
    ConfigError,
    LocalPipelineBackend,
    ModelRun,
    NoopPostprocessor,
    PluginContractError,
    PluginLoadError,
    PluginNotFoundError,
    read_report,
)
from rompy_core._binding import bind_backend, bind_pipeline, bind_postprocessor
from rompy_core._foreign_configs import _COUNTERPARTS, options_from
from rompy_local import LocalConfig, LocalRunBackend
from rompy_slurm import SlurmConfig

Install = Callable[..., Path]


class Modelled:
    """What a pydantic model shows of itself: its fields by ``model_dump()``, and which of them were set."""

    def __init__(self, **values: Any) -> None:
        assert set(values) <= set(self._names())
        self.model_fields_set = set(values)
        for name, value in values.items():
            setattr(self, name, value)

    def model_dump(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names()}

    @classmethod
    def _names(cls) -> list[str]:
        return [name for base in reversed(cls.__mro__) for name in vars(base).get("__annotations__", {})]


def of_rompy(module: str, name: str) -> type[Any]:
    """A class that calls itself one of rompy's."""
    return type(name, (), {"__module__": module, "__qualname__": name})


class TheirLocalConfig(Modelled):
    timeout: int = 3600
    env_vars: dict[str, str] = {}  # noqa: RUF012 - as fields are declared there
    working_dir: Path | None = None
    command: str | None = None
    shell: bool = True
    capture_output: bool = True
    stream_output: bool = False

    def get_backend_class(self) -> Any:
        return of_rompy("rompy.run", "LocalRunBackend")


class TheirDockerConfig(Modelled):
    timeout: int = 3600
    env_vars: dict[str, str] = {}  # noqa: RUF012 - as above
    working_dir: Path | None = None
    image: str | None = None
    executable: str = "/usr/local/bin/run.sh"
    cpu: int = 1
    memory: str | None = None
    mpiexec: str = ""
    volumes: list[str] = []  # noqa: RUF012 - as above
    user: str = "root"

    def get_backend_class(self) -> Any:
        return of_rompy("rompy.run.docker", "DockerRunBackend")


class TheirNoopConfig(Modelled):
    type: str = "noop"
    timeout: int = 3600
    env_vars: dict[str, str] = {}  # noqa: RUF012 - as above
    working_dir: Path | None = None
    validate_outputs: bool = True

    def get_postprocessor_class(self) -> Any:
        return of_rompy("rompy.postprocess", "NoopPostprocessor")


@attrs.define
class Seen:
    """A plugin of every kind that keeps what it was given."""

    given: ClassVar[dict[str, Any]] = {}

    def run(self, model_run: Any, config: Any = None, workspace_dir: Any = None) -> bool:
        type(self).given = {"config": config, "workspace_dir": workspace_dir}
        return True

    def process(self, model_run: Any, **fields: Any) -> dict[str, Any]:
        type(self).given = fields
        return {"success": True}


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out")


def local(**fields: Any) -> LocalConfig:
    bound = bind_backend(TheirLocalConfig(**fields), {})
    assert (bound.name, type(bound.plugin)) == ("local", LocalRunBackend)
    assert isinstance(bound.config, LocalConfig)
    return bound.config


def docker(**fields: Any) -> dict[str, Any]:
    return options_from(TheirDockerConfig(**fields), dict)


# rompy's LocalConfig.


def test_what_has_the_same_name_and_meaning_is_taken_as_it_is() -> None:
    config = local(command="echo $A", timeout=90, env_vars={"A": "1"}, stream_output=True)

    assert config == LocalConfig(command="echo $A", timeout=90, env_vars={"A": "1"}, stream_output=True)
    assert local() == LocalConfig()


def test_without_a_shell_the_command_is_words() -> None:
    assert local(command="swan.exe 'a b' > log", shell=False).command == ("swan.exe", "a b", ">", "log")
    assert local(command="swan.exe 'a b' > log").command == "swan.exe 'a b' > log"
    with pytest.raises(ConfigError, match="command: cannot be split into words: No closing quotation"):
        local(command="swan.exe 'a b", shell=False)


def test_an_empty_command_is_none() -> None:
    assert local(command="").command is None


def test_output_that_is_not_to_be_captured_is_sent_on() -> None:
    assert local(capture_output=False).stream_output is True
    assert local(capture_output=True).stream_output is False
    assert local(capture_output=True, stream_output=True).stream_output is True


def test_the_working_dir_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert local(working_dir=Path("here")).working_dir == tmp_path / "here"
    assert local(working_dir=tmp_path).working_dir == tmp_path


def test_options_go_over_the_config_and_may_be_those_that_it_cannot_have() -> None:
    bound = bind_backend(TheirLocalConfig(command="true", timeout=90), {"timeout": 0.5, "memory": "1g"})

    assert bound.config == LocalConfig(command="true", timeout=0.5, memory="1g")


def test_it_is_as_good_as_config(model_run: ModelRun) -> None:
    config = TheirLocalConfig(command="exit 3")

    assert LocalRunBackend().run(model_run, config) is False
    assert LocalRunBackend().run(model_run, config=config) is False
    assert model_run.run("local", config=config) is False
    assert model_run.run(config) is False
    assert model_run.submit(config).wait(30).exit_code == 3
    with pytest.raises(ConfigError, match="config: is given twice"):
        bind_backend(config, {"config": config})


# A pipeline.


def test_a_pipeline_takes_both_configs_by_the_words_of_either_library(model_run: ModelRun) -> None:
    backend, processor = TheirLocalConfig(command="touch out.nc"), TheirNoopConfig()

    ways = [
        LocalPipelineBackend().execute(model_run, backend, processor),
        LocalPipelineBackend().execute(model_run, run_backend=backend, processor=processor),
        LocalPipelineBackend().execute(model_run, backend_config=backend, processor=processor),
        model_run.pipeline("local", backend_config=backend, processor=None),
        model_run.pipeline("local", run_backend=None, backend_config=backend),
    ]

    assert [results["success"] for results in ways] == [True] * 5
    assert {(results["backend"], results["processor"]) for results in ways} == {("local", "noop")}
    assert read_report(model_run.workspace_dir).command == ("/bin/sh", "-c", "touch out.nc")


def test_a_pipeline_without_any_backend_runs_locally(model_run: ModelRun) -> None:
    results = LocalPipelineBackend().execute(model_run, None, None, run_kwargs={"command": "true"})

    assert (results["success"], results["backend"], results["processor"]) == (True, "local", "noop")


def test_two_backends_for_one_pipeline_are_one_too_many(model_run: ModelRun) -> None:
    with pytest.raises(ConfigError, match="backend_config: is another word for run_backend"):
        model_run.pipeline(run_backend=Seen(), backend_config=TheirLocalConfig(command="true"))


# rompy's DockerConfig.


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("swan.exe", ("swan.exe",)),
        (" /usr/bin/swan.exe  -x 'a b'\t\"c;d\" ", ("/usr/bin/swan.exe", "-x", "a b", "c;d")),
        ('bash -c "cd /app/run_id && swan.exe"', ("bash", "-c", "cd /app/run_id && swan.exe")),
        ("cd x && swan.exe", ("bash", "-c", "cd x && swan.exe")),
        ('swan.exe "$CASE"', ("bash", "-c", 'swan.exe "$CASE"')),
        ("swan.exe *.swn", ("bash", "-c", "swan.exe *.swn")),
        ("OMP_NUM_THREADS=4 swan.exe", ("bash", "-c", "OMP_NUM_THREADS=4 swan.exe")),
        ("swan.exe\nls", ("bash", "-c", "swan.exe\nls")),
        ("swan.exe 'a", ("bash", "-c", "swan.exe 'a")),
    ],
)
def test_a_program_is_words_where_no_shell_is_needed(line: str, words: tuple[str, ...]) -> None:
    assert docker(image="swan", executable=line)["executable"] == words


def test_ranks_are_started_for_words_and_within_a_line() -> None:
    words = docker(image="swan", executable="swan.exe", mpiexec="mpirun", cpu=4)
    line = docker(image="swan", executable="swan.exe && ls", mpiexec="mpirun --oversubscribe", cpu=4)

    assert (words["mpiexec"], words["executable"], words["cpu"]) == ("mpirun", ("swan.exe",), 4)
    assert line["mpiexec"] is None
    assert line["executable"] == ("bash", "-c", "mpirun --oversubscribe -n 4 swan.exe && ls")
    assert docker(image="swan")["mpiexec"] is None


def test_root_is_root_as_in_an_ordinary_container() -> None:
    assert docker(image="swan")["user"] == "0:0"
    assert docker(image="swan", user="wave")["user"] == "wave"
    assert docker(image="swan")["cap_drop"] == []
    assert "cap_drop" not in docker(image="swan", user="1000:1000")


def test_volumes_are_directories_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    options = docker(image="swan", volumes=["data:/data", "./data:/data2:ro,z", "/abs:/abs:ro"])

    assert options["volumes"] == [f"{tmp_path}/data:/data", f"{tmp_path}/data:/data2:ro,z", "/abs:/abs:ro"]


def test_a_working_dir_of_the_host_is_mounted_where_it_is(tmp_path: Path) -> None:
    options = docker(image="swan", working_dir=tmp_path)

    assert options["working_dir"] == str(tmp_path)
    assert options["volumes"] == [f"{tmp_path}:{tmp_path}"]


def test_a_docker_config_is_not_for_the_local_backend(model_run: ModelRun) -> None:
    with pytest.raises(ConfigError, match="config: TheirDockerConfig is for 'docker@rompy-docker'"):
        model_run.run("local", config=TheirDockerConfig(image="swan"))
    assert not model_run.output_dir.exists()


# rompy's SlurmConfig.


class TheirSlurmConfig(Modelled):
    timeout: int = 3600
    env_vars: dict[str, str] = {}  # noqa: RUF012 - as fields are declared there
    working_dir: Path | None = None
    model_type: str = "slurm"
    queue: str | None = None
    command: str = "true"
    nodes: int = 1
    time_limit: str = "1:00:00"
    output_file: str | None = None
    mail_type: str | None = None
    mail_user: str | None = None
    additional_options: list[str] = []  # noqa: RUF012 - as above

    def get_backend_class(self) -> Any:
        return of_rompy("rompy.run.slurm", "SlurmRunBackend")


def slurm(**fields: Any) -> Any:
    return SlurmConfig(**options_from(TheirSlurmConfig(**fields), SlurmConfig))


def test_a_config_for_slurm_is_taken_by_no_other_backend(model_run: ModelRun) -> None:
    with pytest.raises(ConfigError) as caught:
        model_run.run("local", config=TheirSlurmConfig(command="touch here", nodes=4))

    assert str(caught.value) == (
        "LocalConfig: config: TheirSlurmConfig is for 'slurm@rompy-slurm', not for 'local@rompy-local'; "
        "give it in the place of the backend's name"
    )
    assert not model_run.output_dir.exists()


def test_what_rompy_says_of_a_job_is_said_in_our_words() -> None:
    config = slurm(queue="sea", command="a; b", nodes=4, mail_type="END", mail_user="me@example.org")

    assert config == SlurmConfig(
        queue="sea",
        command=["bash", "-c", "a; b"],
        nodes=4,
        time_limit="1:00:00",
        mail_type=["END"],
        mail_user="me@example.org",
    )


def test_the_default_timeout_of_a_wait_ends_no_job_and_one_that_was_chosen_does() -> None:
    assert slurm(time_limit="24:00:00").timeout is None
    assert slurm(time_limit="24:00:00", timeout=7200).timeout == 7200


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("--gres=gpu:v100:2", "gres", "gpu:v100:2"),
        ("--gres gpu:1", "gres", "gpu:1"),
        ("--constraint=haswell", "constraint", "haswell"),
        ("--exclusive", "exclusive", True),
        ("--mem=4000", "mem", 4000 << 20),
        ("--mem 4G", "mem", 4 << 30),
        ("--ntasks-per-node=16", "ntasks_per_node", 16),
        ("--nice=100", "additional_options", ("--nice=100",)),
    ],
)
def test_what_may_follow_sbatch_becomes_an_option_where_there_is_one(option: str, name: str, value: object) -> None:
    assert getattr(slurm(additional_options=[option]), name) == value


@pytest.mark.parametrize("option", ["-C haswell", "--exclusive=user", "--mem=0", "--time=60"])
def test_what_may_follow_sbatch_and_cannot_be_said_here_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=r"additional_options\[0\]"):
        slurm(additional_options=[option])


def test_a_place_for_the_output_that_was_chosen_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    slurm(output_file="job.out")

    assert "output_file" in caplog.text


def test_where_ours_is_not_installed_it_is_asked_for_and_theirs_is_not_used_instead(
    without_distribution: Callable[[str], None], fake_distribution: Install
) -> None:
    without_distribution("rompy-local")
    fake_distribution("rompy", run={"local": "rompy.run:LocalRunBackend"})

    with pytest.raises(PluginNotFoundError, match=r'pip install "rompy-core\[local\]"'):
        bind_backend(TheirLocalConfig(), {})


# rompy's NoopPostprocessorConfig.


def test_a_postprocessor_is_found_by_its_config(model_run: ModelRun, tmp_path: Path) -> None:
    bound = bind_postprocessor(TheirNoopConfig(validate_outputs=False), {})

    assert type(bound.plugin) is NoopPostprocessor
    assert bound.options == {"validate_outputs": False, "output_dir": None, "timeout": 3600}
    assert model_run.postprocess(TheirNoopConfig())["success"] is False
    assert model_run.postprocess(TheirNoopConfig(), validate_outputs=False)["success"] is True


def test_its_working_dir_is_where_the_outputs_are(model_run: ModelRun, tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()

    results = model_run.postprocess(TheirNoopConfig(working_dir=tmp_path / "outputs"))

    assert (results["success"], results["output_dir"]) == (True, str(tmp_path / "outputs"))


def test_its_timeout_is_kept(model_run: ModelRun) -> None:
    model_run.generate()

    results = model_run.postprocess(TheirNoopConfig(timeout=-1))

    assert results["success"] is False
    assert results["message"].startswith("output directory not looked through within the timeout of -1 s")


# Subclasses and classes of users.


def test_a_subclass_may_have_options_that_are_ours() -> None:
    class Careful(TheirLocalConfig):
        rules: str = "swan"
        memory: str = "1g"

    config = bind_backend(Careful(command="swan.exe"), {}).config

    assert config == LocalConfig(command="swan.exe", rules="swan", memory="1g")


def test_fields_that_nobody_here_knows_are_left_to_their_class_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Counting(TheirLocalConfig):
        ranks: int = 1
        queue: str = "short"

    assert bind_backend(Counting(command="true", ranks=4), {}).config == LocalConfig(command="true")

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "fields of a config are not used, for its plugin has no such option: ranks"


def test_another_backend_class_is_made_and_run_with_the_config(model_run: ModelRun) -> None:
    class Own(TheirLocalConfig):
        def get_backend_class(self) -> Any:
            return Seen

    config = Own(command="true")

    assert model_run.run(config) is True
    assert Seen.given == {"config": config, "workspace_dir": model_run.workspace_dir}
    assert read_report(model_run.workspace_dir).backend == "Seen"


def test_a_class_of_ours_gets_a_config_of_its_own_type(model_run: ModelRun) -> None:
    class Ours(TheirLocalConfig):
        def get_backend_class(self) -> Any:
            return LocalRunBackend

    class Plain(Modelled):
        command: tuple[str, ...] = ("true",)

        def get_backend_class(self) -> Any:
            return LocalRunBackend

    assert bind_backend(Plain(), {}).config == LocalConfig(command=("true",))
    with pytest.raises(ConfigError, match="shell"):
        bind_backend("local", {"config": {"shell": False}})


def test_a_subclass_that_asks_for_a_class_of_ours_means_its_fields_as_theirs() -> None:
    theirs = type("LocalConfig", (TheirLocalConfig,), {"__module__": "rompy.backends.config"})

    class Ours(theirs):  # type: ignore[misc, valid-type]
        def get_backend_class(self) -> Any:
            return LocalRunBackend

    config = bind_backend(Ours(command="model 'a b'", shell=False, working_dir=Path("grid")), {}).config

    assert config == LocalConfig(command=("model", "a b"), working_dir=Path.cwd() / "grid")


@pytest.mark.parametrize("asked", ["seen", "seen@their-waves"])
def test_a_config_may_ask_by_name(asked: str, fake_distribution: Install) -> None:
    fake_distribution(
        "their-waves",
        run={"seen": "their_waves:Fine"},
        modules={"their_waves": "class Fine:\n    def run(self, model_run, **kwargs): return True"},
    )

    class Named(Modelled):
        def get_backend_class(self) -> str:
            return asked

    assert bind_backend(Named(), {}).name == "seen"


def test_a_run_backend_that_takes_anything_gets_the_config_as_rompy_gives_it() -> None:
    class Open:
        def run(self, model_run: Any, **kwargs: Any) -> bool:
            return True

    config = TheirLocalConfig(command="true")

    assert bind_backend(Open(), {"config": config}).options == {"config": config}


def test_a_run_backend_that_takes_plain_fields_gets_those_that_it_names() -> None:
    class Fields:
        def run(self, model_run: Any, command: str, timeout: float = 1) -> bool:
            return True

    bound = bind_backend(Fields(), {"config": TheirLocalConfig(command="true", timeout=90), "timeout": 5})

    assert bound.options == {"command": "true", "timeout": 5}


def test_a_postprocessor_gets_the_fields_that_rompy_gives_it(model_run: ModelRun) -> None:
    class Own(TheirNoopConfig):
        destinations: tuple[str, ...] = ("a",)

        def get_postprocessor_class(self) -> Any:
            return Seen

    model_run.postprocess(Own(destinations=("b",)), validate_outputs=False)

    assert Seen.given == {"destinations": ("b",), "validate_outputs": False}


def test_a_postprocessor_gets_the_fields_that_rompy_keeps_where_it_names_them() -> None:
    class Patient:
        def process(self, model_run: Any, timeout: float, env_vars: dict[str, str]) -> dict[str, Any]:
            return {"success": True}

    class Own(TheirNoopConfig):
        def get_postprocessor_class(self) -> Any:
            return Patient

    assert bind_postprocessor(Own(timeout=90, env_vars={"A": "1"}), {}).options == {
        "timeout": 90,
        "env_vars": {"A": "1"},
    }


def test_a_postprocessor_that_takes_its_config_gets_it() -> None:
    class Typed:
        def process(self, model_run: Any, config: Any, **kwargs: Any) -> dict[str, Any]:
            return {"success": True}

    class Own(TheirNoopConfig):
        def get_postprocessor_class(self) -> Any:
            return Typed

    config = Own()

    assert bind_postprocessor(config, {"depth": 1}).options == {"config": config, "depth": 1}


def test_a_config_may_build_its_processor(model_run: ModelRun) -> None:
    class Building(Modelled):
        depth: int = 1

        def build_processor(self) -> Any:
            return SimpleNamespace(process=lambda model_run, depth: {"success": True, "depth": depth})

    assert model_run.postprocess(Building(depth=5)) == {"success": True, "depth": 5}


# Configs of every make.


@dataclasses.dataclass
class AsDataclass:
    command: str
    timeout: float = 5.0

    def get_backend_class(self) -> Any:
        return LocalRunBackend


@attrs.define
class AsAttrs:
    command: str
    timeout: float = 5.0

    def get_backend_class(self) -> Any:
        return LocalRunBackend


class AsPlain:
    def __init__(self, command: str) -> None:
        self.command = command
        self.timeout = 5.0
        self._cache = object()

    def get_backend_class(self) -> Any:
        return LocalRunBackend


@pytest.mark.parametrize("make", [AsDataclass, AsAttrs, AsPlain])
def test_fields_are_those_of_a_dataclass_an_attrs_class_or_any_object(make: Callable[[str], Any]) -> None:
    assert bind_backend(make("true"), {}).config == LocalConfig(command="true", timeout=5)


# What is wrong.


class Broken(Modelled):
    def __init__(self, given: Any) -> None:
        self.given = given

    def get_backend_class(self) -> Any:
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (ImportError("no docker"), PluginLoadError, r"Broken\.get_backend_class\(\) raised ImportError: no docker"),
        (SystemExit(3), PluginLoadError, r"get_backend_class\(\) raised SystemExit: 3"),
        (None, PluginContractError, "which Broken asks for, is NoneType, neither a class nor callable"),
        (int, PluginContractError, "which Broken asks for, gives int, which has no run"),
        ("no-such-plugin", PluginNotFoundError, "no installed distribution advertises it"),
    ],
)
def test_a_config_that_asks_for_no_backend_is_an_error_that_names_it(
    given: object, error: type[Exception], said: str, model_run: ModelRun
) -> None:
    with pytest.raises(error, match=said):
        model_run.run(Broken(given))
    assert not model_run.output_dir.exists()


def test_a_config_for_another_kind_of_plugin_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"TheirNoopConfig: is no config for a plugin of rompy\.run"):
        bind_backend(TheirNoopConfig(), {})
    with pytest.raises(ConfigError, match=r"TheirLocalConfig: is no config for a plugin of rompy\.postprocess"):
        bind_postprocessor(TheirLocalConfig(), {})
    with pytest.raises(ConfigError, match=r"TheirLocalConfig: is no config for a plugin of rompy\.pipeline"):
        bind_pipeline(TheirLocalConfig(), {})


def test_fields_that_cannot_be_read_are_a_config_error() -> None:
    class Torn(TheirLocalConfig):
        def model_dump(self) -> dict[str, Any]:
            raise RuntimeError("canary")

    with pytest.raises(ConfigError, match="Torn: its fields cannot be read: RuntimeError") as caught:
        bind_backend(Torn(), {})
    assert "canary" not in str(caught.value)


def test_wrong_values_are_all_listed_and_secrets_are_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        local(timeout=-1, env_vars={"TOKEN": ["canary"]}, command=" ")

    assert [line.split(":")[0] for line in caught.value.problems] == ["timeout", "env_vars['TOKEN']", "command"]
    assert "canary" not in str(caught.value)


def test_every_counterpart_is_a_plugin_of_ours() -> None:
    assert {entry.plugin for entry in _COUNTERPARTS.values()} == {
        "local@rompy-local",
        "docker@rompy-docker",
        "slurm@rompy-slurm",
        "noop@rompy-core",
    }


# Whatever the fields are.

FIELDS: dict[str, st.SearchStrategy[object]] = {
    "timeout": st.integers() | st.none() | st.text(max_size=3),
    "env_vars": st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers(), max_size=2),
    "working_dir": st.none() | st.sampled_from([Path("a"), Path("/b")]),
    "command": st.none() | st.text(max_size=8),
    "shell": st.booleans(),
    "capture_output": st.booleans(),
    "stream_output": st.booleans(),
}


@settings(max_examples=150, deadline=None)
@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_any_fields_make_a_config_or_a_config_error(fields: dict[str, Any]) -> None:
    try:
        config = local(**fields)
    except ConfigError:
        return

    assert config.timeout == fields.get("timeout", 3600)
    assert dict(config.env_vars) == fields.get("env_vars", {})
    assert config.stream_output is (fields.get("stream_output", False) or not fields.get("capture_output", True))
    assert (config.command is None) is (not fields.get("command"))
    assert config.command is None or isinstance(config.command, str) is fields.get("shell", True)
