from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rompy_core import (
    BackendConfig,
    ConfigError,
    ModelRun,
    PluginContractError,
    PluginError,
    PluginLoadError,
    PluginNotFoundError,
    RunBackend,
    check_options,
    fields,
    load_config,
    load_plugin,
    unstructure_config,
)
from rompy_core._binding import as_config, bind_backend, check_call

Install = Callable[..., Path]

CANARY = "canary-7Yq"
BACKENDS = """
from typing import ClassVar
import attrs
from rompy_core import BackendConfig, fields

@attrs.frozen(kw_only=True)
class WaveConfig(BackendConfig):
    backend: ClassVar[str] = "wave@waves"
    depth: float = attrs.field(default=10.0, converter=fields.to_float, validator=fields.positive)
    levels: tuple[int, ...] = ()

class Wave:
    config_type = WaveConfig
    def run(self, model_run, config, workspace_dir=None):
        return True

class Free:
    def run(self, model_run, **kwargs):
        return True

class Odd:
    config_type = "WaveConfig"
    def run(self, model_run, **kwargs):
        return True
"""


@pytest.fixture
def waves(fake_distribution: Install) -> Any:
    """Install backends with and without a config, and give their module."""
    run = {name.lower(): f"wave_backends:{name}" for name in ("Wave", "Free", "Odd")}
    fake_distribution("waves", run=run, modules={"wave_backends": BACKENDS})
    import wave_backends

    return wave_backends


@attrs.frozen(kw_only=True)
class OwnConfig(BackendConfig):
    depth: float = attrs.field(default=10.0, converter=fields.to_float, validator=fields.positive)


class Own:
    config_type: ClassVar[Any] = OwnConfig

    def run(self, model_run: Any, *, config: OwnConfig) -> bool:
        return True


class Strict:
    config_type = None

    def run(self, model_run: Any, depth: float, *, nodes: int = 1) -> bool:
        return True


class Open:
    def run(self, model_run: Any, **kwargs: Any) -> bool:
        return True


def _problems(call: Callable[[], object]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        call()
    return caught.value.problems


# Four ways to give options.

OPTIONS: dict[str, Any] = {
    "timeout": 60.0,
    "env_vars": {"OMP_NUM_THREADS": "2"},
    "memory": "4g",
    "rules": {"fatal": ["ERROR", {"regex": "abort", "file": "*.log"}], "progress": "(?P<percent>.+)%"},
    "depth": 3.5,
    "levels": [1, 2],
}
TOML = """
timeout = 60.0
memory = "4g"
depth = 3.5
levels = [1, 2]

[env_vars]
OMP_NUM_THREADS = "2"

[rules]
fatal = ["ERROR", { regex = "abort", file = "*.log" }]
progress = "(?P<percent>.+)%"
"""


def test_keywords_an_object_a_table_and_each_kind_of_file_give_equal_configs(waves: Any, tmp_path: Path) -> None:
    expected = waves.WaveConfig(**{**OPTIONS, "levels": (1, 2)})
    texts = {"json": json.dumps(OPTIONS), "toml": TOML, "yaml": yaml.safe_dump(OPTIONS)}
    paths = [tmp_path / f"wave.{ending}" for ending in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text)

    bound = [bind_backend("wave", OPTIONS), bind_backend("wave", {"config": OPTIONS}), bind_backend(expected, {})]
    bound += [bind_backend("wave", {"config": path}) for path in (*paths, *map(str, paths))]
    bound += [bind_backend(waves.Wave(), {"config": expected}), bind_backend("wave@waves", OPTIONS)]

    assert [one.config for one in bound] == [expected] * len(bound)


def test_keywords_go_over_the_config_that_they_come_with(waves: Any) -> None:
    base = waves.WaveConfig(timeout=60, depth=3)

    for config in (base, unstructure_config(base)):
        bound = bind_backend("wave", {"config": config, "depth": 4})

        assert bound.config == waves.WaveConfig(timeout=60, depth=4)
    assert bind_backend(base, {"depth": 4}).config == waves.WaveConfig(timeout=60, depth=4)
    assert bind_backend("wave", {"config": None, "depth": 4}).config == waves.WaveConfig(depth=4)


def test_a_config_brings_its_backend_along_and_is_used_as_it_is(waves: Any) -> None:
    config = waves.WaveConfig(depth=3)

    bound = bind_backend(config, {})

    assert (bound.name, type(bound.plugin)) == ("wave", waves.Wave)
    assert bound.config is config


def test_the_name_in_records_is_the_plugins_or_that_of_the_class(waves: Any) -> None:
    assert bind_backend("wave", {}).name == "wave"
    assert bind_backend("wave@waves", {}).name == "wave"
    assert bind_backend(waves.Wave(), {}).name == "Wave"


def test_a_backend_without_a_config_gets_its_options_as_they_are(waves: Any) -> None:
    options = {"depth": [object()], "workspace_dir": "a"}

    bound = bind_backend("free", options)

    assert (bound.config, bound.options) == (None, options)
    assert bound.options is not options


# What is wrong.


def test_wrong_options_are_all_listed_with_the_nearest_known_one(waves: Any) -> None:
    wrong = {"timeot": 1, "depth": -1, "levels": "12", "rules": {"fatal": "("}}

    for call in (
        lambda: bind_backend("wave", wrong),
        lambda: bind_backend("wave", {"config": wrong}),
        lambda: bind_backend(waves.Wave(), wrong),
        lambda: bind_backend(waves.WaveConfig(), wrong),
    ):
        assert set(_problems(call)) == {
            "timeot: WaveConfig has no such option; did you mean 'timeout'?",
            "depth: must be a finite number > 0, found -1.0",
            "levels: must be a list, found '12'",
            "rules.fatal[0].regex: is no regular expression: missing ), unterminated subpattern at position 0 in '('",
        }


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (3, "config: must be OwnConfig, a table or a file, found int"),
        ([("depth", 1)], "config: must be OwnConfig, a table or a file, found list"),
        (b"own.toml", "config: must be OwnConfig, a table or a file, found bytes"),
        (BackendConfig(), "config: must be OwnConfig, a table or a file, found BackendConfig"),
        (OwnConfig, "config: must be OwnConfig, a table or a file, found type"),
    ],
)
def test_what_is_no_config_for_the_backend_is_refused(config: object, found: str) -> None:
    assert _problems(lambda: bind_backend(Own(), {"config": config})) == (found,)
    assert _problems(lambda: bind_backend(Own(), {"config": config, "depth": 3})) == (found,)


@pytest.mark.parametrize("backend", [None, 3, object(), Own, Open, OwnConfig, SimpleNamespace(run="./model")])
def test_what_is_no_backend_is_refused(backend: object) -> None:
    with pytest.raises(PluginContractError, match="give a name, a config, or an object with run"):
        bind_backend(backend, {})


def test_a_config_that_names_no_backend_needs_one() -> None:
    problem = ("names no backend; give the backend, and this as config=",)

    assert _problems(lambda: bind_backend(OwnConfig(), {})) == problem
    assert _problems(lambda: bind_backend(BackendConfig(), {})) == problem
    assert bind_backend(Own(), {"config": OwnConfig()}).config == OwnConfig()


def test_two_configs_are_one_too_many(waves: Any) -> None:
    config = waves.WaveConfig()

    problems = _problems(lambda: bind_backend(config, {"config": config}))

    assert problems == ("config: is given twice, as the plugin and as an option",)


def test_a_config_type_that_is_no_class_breaks_the_contract(waves: Any) -> None:
    with pytest.raises(PluginContractError, match="its config_type must be a class, found str"):
        bind_backend("odd", {})


def test_a_config_of_a_plain_class_cannot_be_changed_by_keywords() -> None:
    class Plain:
        def __init__(self, depth: float = 1.0) -> None:
            self.depth = depth

    plain = Plain(3.0)

    assert as_config(Plain, {"config": plain}) is plain
    assert as_config(Plain, {"depth": 2.0}).depth == 2.0
    assert _problems(lambda: as_config(Plain, {"config": plain, "depth": 2.0})) == (
        "config: must be Plain, a table or a file, found Plain",
    )


def test_an_unknown_backend_is_found_before_its_options() -> None:
    with pytest.raises(PluginNotFoundError):
        bind_backend("no-such-backend", {"config": "no-such-file.toml"})


def test_no_message_has_the_value_of_a_variable(waves: Any, tmp_path: Path) -> None:
    path = tmp_path / "wave.json"
    path.write_text(json.dumps({"env_vars": {"TOKEN": [CANARY]}, "depth": -1}))

    for call in (
        lambda: bind_backend("wave", {"env_vars": {"TOKEN": CANARY.encode()}}),
        lambda: bind_backend("wave", {"config": path}),
        lambda: bind_backend("wave", {"env_varz": {"TOKEN": CANARY}}),
        lambda: load_config(path),
    ):
        with pytest.raises(ConfigError) as caught:
            call()
        assert CANARY not in f"{caught.value} {caught.value!r}"
    assert CANARY not in repr(bind_backend("wave", {"env_vars": {"TOKEN": CANARY}}))


# Files with the backend's name.


@pytest.mark.parametrize("kind", ["wave", "wave@waves"])
def test_a_file_says_which_backend_it_is_for(kind: str, waves: Any, tmp_path: Path) -> None:
    path = tmp_path / "wave.json"
    path.write_text(json.dumps({"type": kind, **OPTIONS}))

    config = load_config(path)

    assert config == waves.WaveConfig(**{**OPTIONS, "levels": (1, 2)})
    assert bind_backend(config, {}).config is config
    assert bind_backend("wave", {"config": path}).config == config
    assert bind_backend(waves.Wave(), {"config": path}).config == config


@pytest.mark.parametrize("kind", ["free", 3, None])
def test_a_file_for_another_backend_is_refused(kind: object, waves: Any, tmp_path: Path) -> None:
    path = tmp_path / "wave.json"
    path.write_text(json.dumps({"type": kind}))

    problems = _problems(lambda: bind_backend("wave", {"config": path}))

    assert problems == (f"type: must be 'wave', which was asked for, found {kind!r}",)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "type: must be the name of a run backend, such as 'local'"),
        ({"type": 3}, "type: must be the name of a run backend, such as 'local'"),
        ({"type": "free"}, "type: the backend 'free' takes no config; pass its options to run()"),
        ({"type": "wave", "depht": 3}, "depht: WaveConfig has no such option; did you mean 'depth'?"),
    ],
)
def test_a_file_that_is_no_config_is_refused_by_its_name(
    table: dict[str, Any], problem: str, waves: Any, tmp_path: Path
) -> None:
    path = tmp_path / "wave.json"
    path.write_text(json.dumps(table))

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert (caught.value.subject, caught.value.problems) == (str(path), (problem,))


def test_a_file_for_a_backend_that_is_not_there_is_a_plugin_error(tmp_path: Path) -> None:
    path = tmp_path / "wave.json"
    path.write_text('{"type": "no-such-backend"}')

    with pytest.raises(PluginNotFoundError, match="no-such-backend"):
        load_config(path)


# Backends without a config.


def test_options_that_a_method_cannot_take_are_all_found_before_it_is_called() -> None:
    assert _problems(lambda: bind_backend(Strict(), {"node": 2, "timeout": 3, 5: 6})) == (  # type: ignore[dict-item]
        "node: Strict has no such option; did you mean 'nodes'?",
        "timeout: Strict has no such option",
        "[5]: Strict has no such option",
        "depth: is required",
    )
    assert bind_backend(Strict(), {"depth": 1, "nodes": 2}).options == {"depth": 1, "nodes": 2}


def test_a_method_that_takes_anything_takes_no_second_model_run_and_no_odd_names() -> None:
    assert _problems(lambda: bind_backend(Open(), {"model_run": 1, 5: 6, "free": 7})) == (  # type: ignore[dict-item]
        "model_run: Open has no such option",
        "[5]: Open has no such option",
    )


def test_the_workspace_needs_no_option_where_it_is_supplied() -> None:
    class Placed:
        def run(self, model_run: Any, workspace_dir: Path) -> bool:
            return True

    assert bind_backend(Placed(), {}).options == {}
    assert _problems(lambda: check_call(Placed().run, {}, "Placed")) == ("workspace_dir: is required",)


def test_a_config_that_nobody_supplies_is_required() -> None:
    class Typed:
        def run(self, model_run: Any, config: object) -> bool:
            return True

    assert _problems(lambda: bind_backend(Typed(), {})) == ("config: is required",)
    assert bind_backend(Typed(), {"config": 3}).options == {"config": 3}


def test_a_method_that_cannot_be_looked_into_is_left_to_itself() -> None:
    class Silent:
        __signature__ = "none"

        def __call__(self, *args: Any, **kwargs: Any) -> bool:
            return True

    def no_parameters() -> bool:
        return True

    check_call(Silent(), {"anything": 1}, "Silent")
    check_call(no_parameters, {}, "no_parameters")
    assert _problems(lambda: check_call(no_parameters, {"a": 1}, "none")) == ("a: none has no such option",)


# Plugins of every make.

MAKES = """
import attrs

@attrs.define
class Keyed:
    base_url: str
    token: str
    stage: str = "dev"
    def run(self, model_run, **kwargs):
        return True
    def execute(self, model_run, name, timeout=5, **kwargs):
        return {"success": True, "stage": self.stage, "name": name}

class Settled:
    def __init__(self, config):
        self.config = config
    def run(self, model_run, **kwargs):
        return not kwargs
    def process(self, model_run, depth=0):
        return {"success": True, "config": self.config, "depth": depth}

class Twice:
    def __init__(self, config):
        self.config = config
    def process(self, model_run, config):
        return {"success": self.config is config}

@attrs.frozen
class Depths:
    depth: float
    levels: int = 1

class Typed(Settled):
    config_type = Depths

class Fields:
    config_type = Depths
    def run(self, model_run, depth, levels, workspace_dir):
        return (depth, levels, workspace_dir.name) == (3.0, 1, "case")
    def process(self, model_run, depth, levels):
        return {"success": True, "given": (depth, levels)}

class Mismatched:
    config_type = Depths
    def process(self, model_run, depth, height):
        return {"success": True}

def factory(token="none"):
    return Keyed("url", token)

ready = Keyed("url", "token")
"""


@pytest.fixture
def makes(fake_distribution: Install) -> Any:
    """Install one plugin of every make, in every group."""
    names = ("Keyed", "Settled", "Twice", "Typed", "Fields", "Mismatched", "factory", "ready")
    plugins = {name.lower(): f"wave_makes:{name}" for name in names}
    groups = dict.fromkeys(("rompy.run", "rompy.postprocess", "rompy.pipeline"), plugins)
    fake_distribution("waves", groups=groups, modules={"wave_makes": MAKES})
    import wave_makes

    return wave_makes


@pytest.fixture
def model_run(tmp_path: Path) -> ModelRun:
    return ModelRun(run_id="case", output_dir=tmp_path / "out")


def test_what_a_class_needs_is_one_clear_error_that_names_the_plugin(makes: Any, model_run: ModelRun) -> None:
    calls = (
        lambda: model_run.run("keyed", stage="x"),
        lambda: model_run.submit("keyed"),
        lambda: model_run.pipeline("keyed", name="x"),
        lambda: model_run.pipeline("local", run_backend="keyed"),
        lambda: load_plugin("rompy.run", "keyed"),
    )

    for call in calls:
        with pytest.raises(PluginLoadError) as caught:
            call()
        assert caught.value.name == "keyed"
        assert caught.value.detail == (
            "wave_makes:Keyed of waves cannot be made: Keyed needs base_url, token; "
            "give plugin_options={'base_url': ..., 'token': ...}"
        )
    assert not model_run.output_dir.exists()


def test_plugin_options_are_for_the_class_and_the_rest_is_for_the_call(makes: Any, model_run: ModelRun) -> None:
    options = {"base_url": "url", "token": "t", "stage": "prod"}

    results = model_run.pipeline("keyed", plugin_options=options, name="swan")

    assert results == {"success": True, "stage": "prod", "name": "swan"}
    assert bind_backend("keyed@waves", {"plugin_options": options, "nodes": 2}).options == {"nodes": 2}
    assert bind_backend("factory", {"plugin_options": {"token": "t"}}).plugin == makes.Keyed("url", "t")
    assert bind_backend("factory", {"plugin_options": None}).plugin == makes.Keyed("url", "none")
    assert bind_backend("ready", {}).plugin is makes.ready
    assert _problems(lambda: model_run.pipeline("ready")) == ("name: is required",)


def test_a_pipeline_hands_plugin_options_to_each_plugin(makes: Any, model_run: ModelRun) -> None:
    results = model_run.pipeline(
        run_backend="keyed",
        run_kwargs={"plugin_options": {"base_url": "url", "token": "t"}},
        processor="settled",
        process_kwargs={"plugin_options": {"config": 5}, "depth": 2},
    )

    assert results["success"]
    assert results["postprocess_results"] == {"success": True, "config": 5, "depth": 2}


@pytest.mark.parametrize("given", [3, "token", [("token", 1)]])
def test_plugin_options_are_a_table(given: object, makes: Any) -> None:
    [problem] = _problems(lambda: bind_backend("factory", {"plugin_options": given}))

    assert problem.startswith("plugin_options: must be a table of what the plugin's class takes, found")


def test_an_instance_takes_no_plugin_options(makes: Any, model_run: ModelRun) -> None:
    for backend in ("ready", Open()):
        with pytest.raises(PluginContractError, match="is a ready instance and takes no options, found token"):
            bind_backend(backend, {"plugin_options": {"token": 1}})


def test_an_unknown_plugin_option_is_found_with_all_that_is_missing(makes: Any) -> None:
    with pytest.raises(PluginLoadError) as caught:
        bind_backend("keyed", {"plugin_options": {"tokn": 1, "base_url": 2}})

    assert caught.value.detail.endswith(
        "cannot be made: tokn: Keyed has no such option; did you mean 'token'?; "
        "Keyed needs token; give plugin_options={'token': ...}"
    )


def test_a_class_that_needs_its_config_is_made_with_it(makes: Any, model_run: ModelRun) -> None:
    results = model_run.postprocess("settled", config={"a": 1}, depth=7)

    assert results == {"success": True, "config": {"a": 1}, "depth": 7}
    assert model_run.postprocess("settled", plugin_options={"config": 2})["config"] == 2
    assert model_run.postprocess("twice", config=object())["success"] is True
    assert model_run.run("settled", config=1) is True
    with pytest.raises(PluginLoadError, match="Settled needs config"):
        model_run.postprocess("settled", depth=7)


def test_a_class_that_needs_a_typed_config_is_made_with_that(makes: Any, model_run: ModelRun) -> None:
    expected = makes.Depths(depth=3.0)

    for options in ({"depth": 3}, {"config": {"depth": 3}}, {"config": expected}):
        assert model_run.postprocess("typed", **options)["config"] == expected
    assert _problems(lambda: model_run.postprocess("typed", dept=3)) == (
        "dept: Depths has no such option; did you mean 'depth'?",
        "depth: is required",
    )


def test_a_typed_config_comes_by_its_fields_where_the_method_takes_no_config(makes: Any, model_run: ModelRun) -> None:
    assert model_run.run("fields", depth=3) is True
    assert model_run.postprocess("fields", config={"depth": 3, "levels": 2})["given"] == (3.0, 2)
    assert _problems(lambda: model_run.postprocess("mismatched", depth=3)) == (
        "levels: mismatched has no such option",
        "height: is required",
    )


def test_a_pipeline_backend_may_have_a_config(model_run: ModelRun) -> None:
    class Typed:
        config_type = OwnConfig

        def execute(self, model_run: Any, config: OwnConfig) -> Any:
            return {"success": True, "config": config}

    assert model_run.pipeline(Typed(), depth=3)["config"] == OwnConfig(depth=3)


def test_a_file_may_be_for_a_backend_that_needs_its_config(fake_distribution: Install, tmp_path: Path) -> None:
    source = f"{BACKENDS}\nclass Made(Wave):\n    def __init__(self, config): self.config = config\n"
    fake_distribution("waves", run={"made": "wave_made:Made"}, modules={"wave_made": source})
    (tmp_path / "made.json").write_text('{"type": "made", "depth": 3}')

    config = load_config(tmp_path / "made.json")

    assert config.depth == 3
    assert bind_backend("made", {"config": config}).plugin.config is config  # type: ignore[attr-defined]
    assert bind_backend("made", {"config": tmp_path / "made.json"}).config.depth == 3


# Whatever comes.


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_options_make_anything_but_a_bound_backend_or_a_config_error(
    junk: st.SearchStrategy[object], data: st.DataObject
) -> None:
    names = st.sampled_from([*(field.name for field in attrs.fields(OwnConfig)), "config", "model_run", "nodes"])
    backend: RunBackend = data.draw(st.sampled_from([Own(), Strict(), Open()]))
    options: Mapping[Any, object] = data.draw(st.dictionaries(names | st.text(max_size=5), junk, max_size=4))

    try:
        bound = bind_backend(backend, options)
    except ConfigError as exc:
        outcome: object = exc.problems
    else:
        outcome = bound.config if isinstance(backend, Own) else bound.options

    assert isinstance(outcome, OwnConfig | tuple | dict)
    assert outcome != ()


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_backend_makes_anything_but_a_plugin_error(junk: st.SearchStrategy[object], data: st.DataObject) -> None:
    backend = data.draw(junk)

    with pytest.raises(PluginError):
        bind_backend(backend, {})


# Options that are only checked.


@pytest.mark.parametrize(
    ("group", "plugin", "options", "problem"),
    [
        ("rompy.run", "local", {"comand": "true"}, "did you mean 'command'"),
        ("rompy.run", "lokal", {}, "did you mean 'local'"),
        ("rompy.postprocess", object(), {}, "give a name, a config, or an object"),
        ("rompy.pipeline", "lokal", {}, "did you mean 'local'"),
        ("rompy.boats", "local", {}, "no such group of plugins"),
    ],
)
def test_what_is_wrong_with_options_is_said_without_a_call(
    group: str, plugin: object, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        check_options(group, plugin, options)


def test_options_that_are_right_are_checked_and_nothing_is_called_or_written(tmp_path: Path) -> None:
    class Careful:
        def run(self, model_run: Any, **kwargs: Any) -> bool:
            raise AssertionError("called")

        def check(self, model_run: Any, config: Any) -> None:
            raise ConfigError("Careful", [f"{model_run.run_id} is too large"])

        def execute(self, model_run: Any, run_backend: Any) -> dict[str, Any]:
            raise AssertionError("called")

    check_options("rompy.run", Careful(), {"nodes": 3})
    check_options("rompy.run", "local", {"command": "true"}, model_run=ModelRun(run_id="a", output_dir=tmp_path))
    check_options("rompy.pipeline", Careful(), {}, supplied=["run_backend"])

    with pytest.raises(ConfigError, match="run_backend: is required"):
        check_options("rompy.pipeline", Careful(), {})
    with pytest.raises(ConfigError, match="storm is too large"):
        check_options("rompy.run", Careful(), {}, model_run=ModelRun(run_id="storm", output_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []
