from __future__ import annotations

import importlib.metadata
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rompy_core import (
    LocalPipelineBackend,
    NoopPostprocessor,
    PluginConflictError,
    PluginContractError,
    PluginError,
    PluginInfo,
    PluginLoadError,
    PluginNotFoundError,
    _plugins,
    list_plugins,
    load_object,
    load_plugin,
)

Install = Callable[..., Path]
GROUPS = ("rompy.run", "rompy.postprocess", "rompy.pipeline")


def _run_names() -> list[str]:
    return [info.name for info in list_plugins("rompy.run")]


# Listing.


def test_a_listing_tells_where_each_plugin_comes_from(fake_distribution: Install) -> None:
    fake_distribution("My_Waves", run={"swan": "my_waves.run:Swan"}, version="2.1")

    listed = [info for info in list_plugins() if info.distribution == "my-waves"]

    expected = PluginInfo(
        name="swan",
        group="rompy.run",
        distribution="my-waves",
        version="2.1",
        reference="my_waves.run:Swan",
        ask_for="swan",
    )
    assert listed == [expected]


def test_a_listing_is_of_all_three_groups_or_of_one(fake_distribution: Install) -> None:
    fake_distribution("waves", groups={group: {"one": "waves:One"} for group in (*GROUPS, "rompy.config")})

    groups = {info.group for info in list_plugins()}

    assert groups == set(GROUPS)
    assert {info.group for info in list_plugins("rompy.config")} == {"rompy.config"}
    assert list_plugins("rompy.nothing") == []


def test_a_listing_is_sorted_whatever_the_order_of_installation(fake_distribution: Install) -> None:
    fake_distribution("b-waves", run={"swan": "b:B", "anuga": "b:A"})
    fake_distribution("a-waves", run={"swan": "a:A"}, is_first=False)

    listed = list_plugins()

    assert listed == sorted(listed, key=lambda info: (info.group, info.name, info.distribution))


def test_listing_imports_no_plugin(fake_distribution: Install, run_python: Callable[..., str]) -> None:
    names = [f"plugin{n}" for n in range(3)]
    folder = fake_distribution(
        "many", run={name: f"{name}:Plugin" for name in names}, modules=dict.fromkeys(names, "raise SystemExit(3)")
    )
    code = (
        "import sys; from rompy_core import list_plugins;"
        "listed = {info.reference.partition(':')[0] for info in list_plugins()};"
        f"print(set({names!r}) <= listed, sorted((listed - {{'rompy_core'}}) & set(sys.modules)))"
    )

    assert run_python(code, folder).strip() == "True []"


def test_a_second_listing_scans_nothing(fake_distribution: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distribution("many", run={f"model-{n}": f"many:Model{n}" for n in range(200)})
    scans: list[None] = []
    distributions = importlib.metadata.distributions
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: scans.append(None) or distributions())

    first, second = list_plugins("rompy.run"), list_plugins("rompy.run")

    assert len(scans) == 1
    assert len(first) >= 200
    assert first == second


def test_a_distribution_is_seen_as_soon_as_it_is_installed(fake_distribution: Install) -> None:
    folder = fake_distribution("waves", run={"swan": "waves:Swan"})
    before = _run_names()
    fake_distribution("tides", run={"roms": "tides:Roms"}, site=folder)

    after = _run_names()

    assert "roms" not in before
    assert {"swan", "roms"} <= set(after)


def test_a_place_that_leaves_the_search_path_takes_its_plugins_along(
    fake_distribution: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fake_distribution("waves", run={"swan": "waves:Swan"})
    before = _run_names()

    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(folder)])

    assert "swan" in before
    assert "swan" not in _run_names()


def test_odd_places_on_the_search_path_hurt_nobody(fake_distribution: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distribution("waves", run={"swan": "waves:Swan"})

    monkeypatch.setattr(sys, "path", ["", "/no/such/place", *sys.path])

    assert "swan" in _run_names()


@pytest.mark.parametrize(
    "text", [b"[rompy.run]\nno assignment here\n", b"\xff\xfe[rompy.run]\n"], ids=["malformed", "no text"]
)
def test_unreadable_entry_points_hurt_their_own_distribution_only(
    text: bytes, fake_distribution: Install, fine_plugin: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = fake_distribution("torn-waves", entry_points="[rompy.run]\n")
    next(folder.glob("*.dist-info/entry_points.txt")).write_bytes(text)

    names = _run_names()

    assert fine_plugin in names
    assert [record.distribution for record in caplog.records] == ["torn-waves"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("metadata", [None, "", "Version: 3\n"], ids=["no file", "empty", "no name"])
def test_a_distribution_without_a_name_is_called_unknown(metadata: str | None, fake_distribution: Install) -> None:
    folder = fake_distribution("waves", run={"swan": "waves_unknown:Fine"}, modules={"waves_unknown": _FINE})
    path = next(folder.glob("*.dist-info/METADATA"))
    path.unlink() if metadata is None else path.write_text(metadata)

    listed = [info for info in list_plugins() if info.name == "swan"]

    assert [info.distribution for info in listed] == ["unknown"]
    assert load_plugin("rompy.run", "swan").run(None)
    assert load_plugin("rompy.run", "swan@unknown").run(None)


def test_metadata_that_cannot_be_read_hurts_nobody(fake_distribution: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_distribution("waves", run={"swan": "waves:Swan"})

    def torn(self: object) -> object:
        raise OSError("torn")

    monkeypatch.setattr(importlib.metadata.PathDistribution, "metadata", property(torn))
    _plugins._scan.cache_clear()

    assert [info.version for info in list_plugins("rompy.run") if info.name == "swan"] == ["unknown"]
    _plugins._scan.cache_clear()


def test_an_entry_point_may_have_no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = importlib.metadata.EntryPoint("orphan", "waves:Swan", "rompy.run")
    monkeypatch.setattr(_plugins, "_scan", lambda search_path: (orphan,))

    (listed,) = list_plugins()

    assert (listed.name, listed.distribution, listed.version) == ("orphan", "unknown", "unknown")


def test_of_two_installations_the_first_on_the_path_counts_as_for_imports(fake_distribution: Install) -> None:
    fake_distribution("waves", run={"swan": "waves:Old", "gone": "waves:Gone"}, version="1.0")
    fake_distribution("Waves", run={"swan": "waves:New"}, version="2.0")

    listed = [info for info in list_plugins() if info.distribution == "waves"]

    assert [(info.name, info.version, info.reference) for info in listed] == [("swan", "2.0", "waves:New")]


def test_plugins_of_a_version_that_is_hidden_by_one_without_plugins_are_not_there(fake_distribution: Install) -> None:
    fake_distribution("waves", run={"swan": "waves:Old"}, version="1.0")
    fake_distribution("waves", version="2.0")

    assert "swan" not in _run_names()


def test_what_an_uninstallation_left_behind_hides_nothing(fake_distribution: Install) -> None:
    fake_distribution("waves", run={"swan": "waves:Swan"})
    left = fake_distribution("waves")
    next(left.glob("*.dist-info/METADATA")).unlink()

    assert [info.distribution for info in list_plugins() if info.name == "swan"] == ["waves"]


def test_a_folder_may_have_another_name_than_its_distribution(fake_distribution: Install) -> None:
    folder = fake_distribution("waves", run={"swan": "waves:Swan"})
    next(folder.glob("*.dist-info/METADATA")).write_text("Name: tides\nVersion: 1\n")

    assert [info.distribution for info in list_plugins() if info.name == "swan"] == ["tides"]


# Loading.

_FINE = """
class Fine:
    def run(self, model_run, **kwargs):
        return True
"""


def test_what_ships_is_found_by_its_name() -> None:
    assert type(load_plugin("rompy.postprocess", "noop")) is NoopPostprocessor
    assert type(load_plugin("rompy.pipeline", "local")) is LocalPipelineBackend


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise OSError('no licence server')", "OSError: no licence server"),
        ("Other = 1", "AttributeError: module 'broken' has no attribute 'Fine'"),
    ],
)
def test_a_broken_plugin_hurts_only_who_asks_for_it(
    source: str, cause: str, fake_distribution: Install, fine_plugin: str
) -> None:
    fake_distribution("broken-waves", run={"broken": "broken:Fine"}, modules={"broken": source})

    with pytest.raises(PluginLoadError) as caught:
        load_plugin("rompy.run", "broken")

    assert caught.value.detail.startswith("broken:Fine of broken-waves does not import: ")
    assert cause in caught.value.detail
    assert caught.value.__cause__ is not None
    assert load_plugin("rompy.run", fine_plugin).run(None)


def test_a_malformed_reference_is_a_load_error(fake_distribution: Install) -> None:
    fake_distribution("waves", run={"swan": "not a reference!"})

    with pytest.raises(PluginLoadError, match="of waves does not import"):
        load_plugin("rompy.run", "swan")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class Made: pass", "gives Made, which has no run(model_run, **kwargs)"),
        ("class Made: run = './model'", "gives Made, which has no run"),
        ("class Made:\n    @property\n    def run(self): raise OSError('no GPU')", "gives Made, which has no run"),
        ("def Made(): return None", "gives NoneType, which has no run"),
        ("class Fine:\n    def run(self, model_run): pass\ndef Made(): return Fine", "gives type, which has no run"),
        ("Made = 42", "is int, neither a class nor callable, and has no run"),
        ("from types import SimpleNamespace\nMade = SimpleNamespace(run=1)", "is SimpleNamespace, neither a class"),
    ],
)
def test_a_plugin_of_the_wrong_shape_is_refused_by_what_it_lacks(
    source: str, found: str, fake_distribution: Install
) -> None:
    fake_distribution("waves", run={"swan": "waves_shape:Made"}, modules={"waves_shape": source})

    with pytest.raises(PluginContractError) as caught:
        load_plugin("rompy.run", "swan")

    assert caught.value.detail.startswith("waves_shape:Made of waves ")
    assert found in caught.value.detail


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_asks_for_its_own_method(group: str, fake_distribution: Install) -> None:
    methods = dict(zip(GROUPS, ("run", "process", "execute"), strict=True))
    source = "".join(f"class {m.title()}:\n    def {m}(self, model_run): pass\n" for m in methods.values())
    names = {m: f"waves_groups:{m.title()}" for m in methods.values()}
    fake_distribution("waves", groups={group: names}, modules={"waves_groups": source})

    assert load_plugin(group, methods[group])
    for other in set(methods.values()) - {methods[group]}:
        with pytest.raises(PluginContractError, match=rf"has no {methods[group]}\(model_run, \*\*kwargs\)"):
            load_plugin(group, other)


@pytest.mark.parametrize(
    "made",
    [
        "from waves_made import Fine as made",
        "from waves_made import Fine\ndef made(): return Fine()",
        "from waves_made import Fine\nimport functools\nmade = functools.partial(Fine)",
        "from waves_made import Fine\nmade = Fine()",
        "import waves_module as made",
    ],
    ids=["class", "factory", "partial", "instance", "module"],
)
def test_a_class_a_factory_and_an_instance_all_give_a_plugin(made: str, fake_distribution: Install) -> None:
    modules = {"waves_ways": made, "waves_made": _FINE, "waves_module": "def run(model_run, **kwargs): return True"}
    fake_distribution("waves", run={"swan": "waves_ways:made"}, modules=modules)

    plugin = load_plugin("rompy.run", "swan")

    assert plugin.run(None) is True


def test_plugin_options_reach_the_class(fake_distribution: Install) -> None:
    source = "class Swan:\n    def __init__(self, depth=1): self.depth = depth\n    def run(self, model_run): pass"
    fake_distribution("waves", run={"swan": "waves_options:Swan"}, modules={"waves_options": source})

    assert load_plugin("rompy.run", "swan").depth == 1
    assert load_plugin("rompy.run", "swan", depth=7).depth == 7
    with pytest.raises(PluginLoadError, match="cannot be made: depht: Swan has no such option; did you mean 'depth'"):
        load_plugin("rompy.run", "swan", depht=7)


def test_a_ready_instance_refuses_options_rather_than_ignore_them(fake_distribution: Install) -> None:
    fake_distribution("waves", run={"swan": "waves_ready:made"}, modules={"waves_ready": f"{_FINE}\nmade = Fine()"})

    with pytest.raises(PluginContractError, match="is a ready instance and takes no options, found depth"):
        load_plugin("rompy.run", "swan", depth=7)


@pytest.mark.parametrize("exception", ["OSError('no GPU')", "SystemExit('no GPU')"])
def test_a_constructor_that_fails_is_a_load_error(exception: str, fake_distribution: Install) -> None:
    source = f"class Swan:\n    def __init__(self): raise {exception}\n    def run(self, model_run): pass"
    fake_distribution("waves", run={"swan": "waves_fails:Swan"}, modules={"waves_fails": source})

    with pytest.raises(PluginLoadError, match=r"waves_fails:Swan of waves cannot be made: \w+: no GPU"):
        load_plugin("rompy.run", "swan")


def test_an_interrupt_is_not_swallowed(fake_distribution: Install) -> None:
    fake_distribution("waves", run={"swan": "waves_ctrl_c:X"}, modules={"waves_ctrl_c": "raise KeyboardInterrupt"})

    with pytest.raises(KeyboardInterrupt):
        load_plugin("rompy.run", "swan")


# Names.


@pytest.mark.parametrize(
    "name", ["my.model", "swan 41.45", "größe", "波浪", "a@b", "x@", "UPPER-case_1", "a@waves", "-v", "local/fast"]
)
def test_odd_names_are_as_good_as_any(name: str, fake_distribution: Install) -> None:
    fake_distribution("waves", run={name: "waves_names:Fine"}, modules={"waves_names": _FINE})

    assert name in _run_names()
    assert load_plugin("rompy.run", name).run(None)
    assert load_plugin("rompy.run", f"{name}@waves").run(None)


def _duplicates(install: Install, names: tuple[str, ...]) -> None:
    for name in names:
        module = f"{name.replace('-', '_')}_twin"
        install(name, run={"twin": f"{module}:Fine"}, modules={module: f"{_FINE}\nFine.home = {name!r}"})


@pytest.mark.parametrize("order", [("a-waves", "b-waves"), ("b-waves", "a-waves")])
def test_two_of_one_name_are_never_told_apart_by_the_order_of_installation(
    order: tuple[str, ...], fake_distribution: Install
) -> None:
    _duplicates(fake_distribution, order)

    with pytest.raises(PluginConflictError) as caught:
        load_plugin("rompy.run", "twin")

    assert caught.value.detail == "several distributions advertise it; ask for one of twin@a-waves, twin@b-waves"
    assert load_plugin("rompy.run", "twin@a-waves").home == "a-waves"
    assert load_plugin("rompy.run", "twin@b-waves").home == "b-waves"


@pytest.mark.parametrize("order", [("rompy-local", "b-waves", "a-waves"), ("a-waves", "b-waves", "rompy-local")])
def test_ours_wins_over_others_in_every_order_and_says_so_once(
    order: tuple[str, ...], fake_distribution: Install, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rompy_core")
    _duplicates(fake_distribution, order)

    homes = [load_plugin("rompy.run", name).home for name in ("twin", "twin", "twin@b-waves")]

    assert homes == ["rompy-local", "rompy-local", "b-waves"]
    (record,) = caplog.records
    assert record.levelname == "INFO"
    facts: dict[str, Any] = vars(record)
    assert (facts["plugin"], facts["taken"]) == ("twin", "twin@rompy-local")
    assert facts["others"] == "twin@a-waves, twin@b-waves"


def test_two_of_ours_are_an_error_too(fake_distribution: Install) -> None:
    _duplicates(fake_distribution, ("rompy-core", "rompy-local", "waves"))

    with pytest.raises(PluginConflictError, match="ask for one of twin@rompy-core, twin@rompy-local, twin@waves"):
        load_plugin("rompy.run", "twin")


@pytest.mark.parametrize("spelling", ["my-waves", "My_Waves", "my.waves", "MY--WAVES"])
def test_a_distribution_is_named_in_any_spelling(spelling: str, fake_distribution: Install) -> None:
    fake_distribution("My_Waves", run={"swan": "my_waves_mod:Fine"}, modules={"my_waves_mod": _FINE})

    assert load_plugin("rompy.run", f"swan@{spelling}").run(None)


def test_one_object_that_two_distributions_advertise_is_no_conflict(fake_distribution: Install) -> None:
    fake_distribution("a-waves", run={"swan": "waves_shared:Fine"}, modules={"waves_shared": _FINE})
    fake_distribution("b-waves", run={"swan": "waves_shared:Fine"})

    assert load_plugin("rompy.run", "swan").run(None)
    assert load_plugin("rompy.run", "swan@b-waves").run(None)


def test_an_alias_of_ours_in_another_distribution_does_not_take_precedence_away(fake_distribution: Install) -> None:
    fake_distribution("a-waves", run={"twin": "ours_twin:Fine"})
    fake_distribution("rompy-local", run={"twin": "ours_twin:Fine"}, modules={"ours_twin": _FINE})
    fake_distribution("b-waves", run={"twin": "b_twin:Fine"}, modules={"b_twin": "raise OSError"})

    assert load_plugin("rompy.run", "twin").run(None)


def test_one_distribution_that_contradicts_itself_is_to_be_mended(fake_distribution: Install) -> None:
    text = "[rompy.run]\nswan = waves:A\nswan = waves:B\n"
    fake_distribution("waves", entry_points=text)

    with pytest.raises(PluginConflictError, match="swan@waves is advertised more than once, as waves:A, waves:B"):
        load_plugin("rompy.run", "swan")


# Unknown names.


def test_an_unknown_name_lists_the_known_ones_the_nearest_first(
    fake_distribution: Install, without_distribution: Callable[[str], None]
) -> None:
    fake_distribution("waves", run=dict.fromkeys(("anuga", "xbeach", "swash", "swan"), "waves:X"))
    for info in list_plugins("rompy.run"):
        if info.distribution != "waves":
            without_distribution(info.distribution)

    with pytest.raises(PluginNotFoundError) as caught:
        load_plugin("rompy.run", "swann")

    assert caught.value.detail == (
        "no installed distribution advertises it; did you mean 'swan'?; known: swan, swash, anuga, xbeach"
    )


def test_an_unknown_distribution_lists_the_spellings(fake_distribution: Install) -> None:
    fake_distribution("waves", run={"swan": "waves:X"})

    with pytest.raises(PluginNotFoundError, match=r"did you mean 'swan@waves'.*known: swan@waves, "):
        load_plugin("rompy.run", "swan@wavs")


def test_where_nothing_is_known_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plugins, "_scan", lambda search_path: ())

    with pytest.raises(PluginNotFoundError) as caught:
        load_plugin("rompy.run", "swan")

    assert caught.value.detail == "no installed distribution advertises it; known: none"


@pytest.mark.parametrize("name", ["local", "local@rompy-local", "local@rompy_local"])
def test_what_one_of_ours_would_provide_comes_with_the_command_to_install_it(
    name: str, without_distribution: Callable[[str], None]
) -> None:
    without_distribution("rompy-local")

    with pytest.raises(PluginNotFoundError) as caught:
        load_plugin("rompy.run", name)

    assert caught.value.detail.endswith('; install it with: pip install "rompy-core[local]"')


@pytest.mark.parametrize("name", ["local@waves", "lokal"])
def test_the_command_to_install_ours_is_not_given_for_what_it_would_not_help(
    name: str, without_distribution: Callable[[str], None]
) -> None:
    without_distribution("rompy-local")

    with pytest.raises(PluginNotFoundError) as caught:
        load_plugin("rompy.run", name)

    assert "pip" not in caught.value.detail


def test_an_unknown_group_lists_the_groups() -> None:
    with pytest.raises(PluginNotFoundError, match=r"the groups are rompy\.run, rompy\.postprocess, rompy\.pipeline"):
        load_plugin("rompy.runs", "local")


def test_every_plugin_error_is_a_value_error_with_its_facts() -> None:
    with pytest.raises(ValueError, match=r"plugin 'nothing' of group 'rompy\.run': ") as caught:
        load_plugin("rompy.run", "nothing")

    assert isinstance(caught.value, PluginError)
    assert (caught.value.group, caught.value.name) == ("rompy.run", "nothing")


def test_no_name_at_all_is_an_unknown_name() -> None:
    for name in ("", "@", "@rompy-core"):
        with pytest.raises(PluginNotFoundError):
            load_plugin("rompy.run", name)


def test_a_relative_place_is_that_of_the_moment(fake_distribution: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_distribution("waves", run={"swan": "waves:Swan"})
    here = Path.cwd()
    monkeypatch.setattr(sys, "path", ["", *(place for place in sys.path if place != str(folder))])
    os.utime(folder, ns=(1, 1))
    before = _run_names()

    monkeypatch.chdir(folder)

    assert "swan" not in before
    assert "swan" in _run_names()
    monkeypatch.chdir(here)


def test_an_object_of_another_packages_group_is_found_by_name_and_not_made(fake_distribution: Install) -> None:
    fake_distribution(
        "engines",
        groups={"rompy.executors": {"fast": "engines:make", "broken": "no_such_module:make"}},
        modules={"engines": "def make(**options):\n    raise AssertionError('it was asked for, not to be made')\n"},
    )

    found = load_object("rompy.executors", "fast@engines")

    assert found.__name__ == "make"
    with pytest.raises(PluginNotFoundError, match="did you mean 'fast'"):
        load_object("rompy.executors", "fasst")
    with pytest.raises(PluginLoadError, match="no_such_module:make of engines does not import"):
        load_object("rompy.executors", "broken")
