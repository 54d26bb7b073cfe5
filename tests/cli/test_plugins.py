from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from click.testing import Result

Invoke = Callable[..., Result]

MODULE = """
class Plain:
    def run(self, model_run, **kwargs):
        return True

class NeedsOptions(Plain):
    def __init__(self, queue):
        pass

class NoBackend:
    pass
"""


@pytest.fixture
def install(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install a distribution with run backends."""

    def make(name: str, backends: Mapping[str, str]) -> None:
        info = here / f"site-{name}" / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{backend} = {reference}" for backend, reference in backends.items()]
        (info / "entry_points.txt").write_text("\n".join(["[rompy.run]", *lines]))
        (info.parent / f"{name}_backends.py").write_text(MODULE)
        monkeypatch.syspath_prepend(str(info.parent))

    return make


def test_plugins_are_listed_with_their_distributions(invoke: Invoke) -> None:
    result = invoke("plugins", "--json")

    rows = json.loads(result.stdout)["plugins"]
    assert result.exit_code == 0
    assert {(row["name"], row["group"], row["distribution"]) for row in rows} >= {
        ("local", "rompy.run", "rompy-local"),
        ("local", "rompy.pipeline", "rompy-core"),
        ("noop", "rompy.postprocess", "rompy-core"),
    }
    assert all(row["problem"] is None for row in rows)
    assert rows[0].keys() == {"name", "group", "distribution", "version", "reference", "ask_for", "problem"}


def test_check_imports_them_and_fails_where_one_cannot_be_used(invoke: Invoke, install: Callable[..., None]) -> None:
    install("waves", {"gone": "no_such:X", "bad": "waves_backends:NoBackend", "opt": "waves_backends:NeedsOptions"})

    listed, checked = invoke("plugins", "--group", "run"), invoke("plugins", "--group", "run", "--check")

    assert listed.exit_code == 0
    assert "does not import" not in listed.stdout
    assert checked.exit_code == 1
    problems = {row.split("\t")[0]: row.split("\t")[4] for row in checked.stdout.splitlines()[1:]}
    assert problems["gone"].startswith("no_such:X of waves does not import: ModuleNotFoundError")
    assert "has no run(model_run" in problems["bad"]
    assert problems["opt"] == "", "what needs options to be made is not broken"
    assert problems["local"] == ""


def test_a_name_that_two_distributions_have_is_shown_as_it_must_be_asked_for(
    invoke: Invoke, install: Callable[..., None]
) -> None:
    install("waves", {"queue": "waves_backends:Plain", "local": "waves_backends:Plain"})
    install("tides", {"queue": "tides_backends:Plain"})

    rows = json.loads(invoke("plugins", "--group", "run", "--json").stdout)["plugins"]

    found = {row["ask_for"]: row["problem"] for row in rows}
    several = "several distributions advertise it; ask for one of queue@tides, queue@waves"
    assert found["queue@tides"] == found["queue@waves"] == several
    assert found["local"] is None
    assert found["local@waves"] is None


@pytest.mark.parametrize("words", [["local"], ["local@rompy-local"], ["local", "--group", "run"], ["local", "--json"]])
def test_schema_prints_the_options_of_a_plugin(words: list[str], invoke: Invoke) -> None:
    result = invoke("schema", *words)

    assert result.exit_code == 0, result.output
    assert {"timeout", "command", "memory"} <= json.loads(result.stdout)["properties"].keys()


def test_a_plugin_without_typed_options_has_no_schema(invoke: Invoke) -> None:
    for words, message in [
        (("noop",), "plugin 'noop' of group 'rompy.postprocess' takes plain options"),
        (("local", "--group", "pipeline"), "plugin 'local' of group 'rompy.pipeline' takes plain options"),
        (("locl",), "did you mean 'local'?"),
    ]:
        result = invoke("schema", *words)

        assert result.exit_code == 2
        assert message in result.stderr
