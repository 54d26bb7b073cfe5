"""Plugins of other hands as they are: rompy-oceanum's two, and one of the shape of rompy-ww3's."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from rompy.backends import LocalConfig
from rompy.postprocess.config import BasePostprocessorConfig
from rompy_oceanum.config import DataMeshConfig

from rompy_core import (
    ConfigError,
    LocalPipelineBackend,
    ModelRun,
    PluginContractError,
    PluginLoadError,
    PluginNotFoundError,
    find_runs,
    list_plugins,
    load_plugin,
)

Make = Callable[..., Any]
ACCOUNT = {"token": "a token", "org": "waves", "project": "storms"}


def execute(model_run: Any, *given: Any, **options: Any) -> dict[str, Any]:
    return LocalPipelineBackend().execute(model_run, *given, **options)


def test_their_plugins_are_listed() -> None:
    listed = {(info.group, info.name) for info in list_plugins() if info.distribution == "rompy-oceanum"}

    assert listed == {("rompy.pipeline", "prax"), ("rompy.postprocess", "datamesh")}


# prax


@attrs.define
class Prax:
    """A stand-in for the service."""

    url: str
    asked: list[tuple[str, Any]] = attrs.field(factory=list)
    code: int = 200


@pytest.fixture
def prax() -> Iterator[Prax]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.asked.append((self.path.partition("?")[0], json.loads(body)))
            answer = b'{"run_id": "prax-1"}'
            self.send_response(service.code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *words: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service = Prax(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield service
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAMESH_TOKEN", "a token")
    monkeypatch.setenv("NO_PROXY", "*")


def test_prax_is_made_with_its_options_and_submits_a_run_of_theirs(their_run: Make, prax: Prax) -> None:
    plugin = load_plugin("rompy.pipeline", "prax", base_url=prax.url, **ACCOUNT)

    results = plugin.execute(their_run(), pipeline_name="swan")

    assert (results["success"], results["prax_run_id"]) == (True, "prax-1")
    assert results["stages_completed"] == ["generate", "submit"]
    assert [path for path, _ in prax.asked] == ["/api/pipelines/swan/submit"]


def test_prax_is_a_pipeline_of_our_model_run_by_its_name(our_run: Make, prax: Prax) -> None:
    options = {"plugin_options": {"base_url": prax.url, **ACCOUNT}, "pipeline_name": "swan"}

    class Described(ModelRun):
        """What it submits is the description of a run that rompy in the cloud can read."""

        def dump_inputs_dict(self) -> dict[str, Any]:
            return {"run_id": self.run_id, "model_type": "modelrun"}

    described = Described(run_id="case", output_dir=our_run().output_dir)
    results = described.pipeline("prax", **options)
    undescribed = our_run().pipeline("prax", **options)

    assert (results["success"], results["prax_run_id"]) == (True, "prax-1")
    assert results["staging_dir"] == str(described.workspace_dir)
    assert json.loads(prax.asked[0][1]["parameters"]["rompy-config"])["run_id"] == "case"
    assert (undescribed["success"], undescribed["stage"]) == (False, "generate")
    assert "dump_inputs_dict" in undescribed["error"]


def test_a_failure_of_prax_is_given_back_as_it_is(our_run: Make, their_run: Make, prax: Prax) -> None:
    prax.code = 503
    plugin = load_plugin("rompy.pipeline", "prax", base_url=prax.url, **ACCOUNT)

    results = plugin.execute(their_run(), pipeline_name="swan")

    assert (results["success"], results["stage"], results["stages_completed"]) == (False, "submit", ["generate"])
    assert "503" in results["error"]


def test_what_prax_needs_is_one_clear_error(our_run: Make) -> None:
    with pytest.raises(PluginLoadError) as caught:
        our_run().pipeline("prax", plugin_options={"token": "a token", "organisation": "waves"}, pipeline_name="swan")

    assert str(caught.value) == (
        "plugin 'prax' of group 'rompy.pipeline': rompy_oceanum.pipeline:PraxPipelineBackend of rompy-oceanum cannot "
        "be made: organisation: PraxPipelineBackend has no such option; PraxPipelineBackend needs base_url, org, "
        "project; give plugin_options={'base_url': ..., 'org': ..., 'project': ...}"
    )
    with pytest.raises(ConfigError, match="pipeline_name: is required"):
        our_run().pipeline("prax", plugin_options={"base_url": "http://localhost", **ACCOUNT})


# datamesh


@pytest.fixture
def datamesh_config() -> DataMeshConfig:
    return DataMeshConfig(base_url="http://localhost", token="a token")


def test_datamesh_follows_a_run_of_theirs(their_run: Make, datamesh_config: DataMeshConfig) -> None:
    results = execute(
        their_run(), LocalConfig(command="true"), "datamesh", process_kwargs={"datamesh_config": datamesh_config}
    )

    assert results["success"] is True
    assert results["postprocess_results"]["dataset_name"] == "rompy-case"


def test_a_failure_of_datamesh_fails_the_pipeline_and_says_why(
    their_run: Make, datamesh_config: DataMeshConfig
) -> None:
    results = execute(
        their_run(),
        LocalConfig(command="echo torn > swangrid.nc"),
        "datamesh",
        process_kwargs={"datamesh_config": datamesh_config},
    )

    assert (results["success"], results["stage"]) == (False, "postprocess")
    assert results["error"] == results["postprocess_results"]["error"]
    assert "did not find a match in any of xarray's" in results["error"]


def test_what_datamesh_raises_is_the_failure_of_its_stage(their_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAMESH_TOKEN")

    without_token = execute(their_run(), LocalConfig(command="true"), "datamesh")
    with_a_table = execute(
        their_run(), LocalConfig(command="true"), "datamesh", process_kwargs={"datamesh_config": {"token": "a token"}}
    )

    assert (without_token["stage"], with_a_table["stage"]) == ("postprocess", "postprocess")
    assert "Failed to load DataMesh configuration" in without_token["error"]
    assert "from_dict" in with_a_table["error"]  # a fault of its own


def test_datamesh_is_made_with_its_config_where_that_is_given(datamesh_config: DataMeshConfig) -> None:
    assert load_plugin("rompy.postprocess", "datamesh").config is None
    assert load_plugin("rompy.postprocess", "datamesh", config=datamesh_config).config is datamesh_config


# The shape of rompy-ww3's transfer


class TransferResult:
    """No mapping: attributes, one item, and a ``to_dict()`` that JSON cannot take."""

    def __init__(self, copied: list[Path], failed: list[Path]) -> None:
        self.success = not failed
        self.copied = copied
        self.failed = failed
        self.finished_at = datetime.now(UTC)

    def __getitem__(self, name: str) -> object:
        return self.to_dict()[name]

    def to_dict(self) -> dict[str, object]:
        return {"success": self.success, "copied": self.copied, "finished_at": self.finished_at}


class Transfer:
    def process(
        self, model_run: Any, destinations: list[Path], output_types: dict[str, Any], failure_policy: str = "CONTINUE",
        **kwargs: Any,
    ) -> TransferResult:  # fmt: skip
        assert set(kwargs) <= {"type"}
        source = Path(model_run.output_dir) / model_run.run_id
        copied, failed = [], []
        for pattern in output_types:
            for path in source.glob(pattern):
                for destination in destinations:
                    (copied if destination.is_dir() else failed).append(path)
                    if destination.is_dir():
                        shutil.copy(path, destination)
        return TransferResult(copied, failed)


class TransferConfig(BasePostprocessorConfig):
    type: str = "ww3_transfer"
    destinations: list[Path]
    output_types: dict[str, Any] = {}  # noqa: RUF012 - a field of a pydantic model
    failure_policy: str = "CONTINUE"

    def get_postprocessor_class(self) -> Any:
        return Transfer


@pytest.mark.parametrize("exists", [True, False])
def test_a_transfer_after_the_run_is_read_by_its_success(any_run: Any, tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "archive").mkdir()
    processor = TransferConfig(destinations=[tmp_path / "archive"], output_types={"*.ww3": {}}, timeout=90)

    results = execute(any_run, LocalConfig(command="touch a.ww3 b.ww3"), processor)

    assert results["success"] is exists
    assert results["processor"] == "ww3_transfer"
    assert isinstance(results["postprocess_results"], TransferResult)
    assert (tmp_path / "archive" / "a.ww3").exists() is exists
    [record] = find_runs(any_run.output_dir)
    assert json.loads((record.record_dir or tmp_path).joinpath("pipeline.json").read_text())["success"] is exists


def test_its_result_is_given_back_as_it_is(our_run: Make, tmp_path: Path) -> None:
    result = our_run().postprocess(TransferConfig(destinations=[tmp_path]))

    assert isinstance(result, TransferResult)
    assert result["success"] is True


@pytest.fixture
def advertised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it installed as rompy-ww3 is: in the group of the configs alone."""
    site = tmp_path / "site"
    (site / "ww3-1.dist-info").mkdir(parents=True)
    (site / "ww3-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: ww3\nVersion: 1\n")
    entry = "[rompy.postprocess.config]\nww3_transfer = stand_in_for_ww3:TransferConfig\n"
    (site / "ww3-1.dist-info" / "entry_points.txt").write_text(entry)
    (site / "stand_in_for_ww3.py").write_text("TransferConfig = None\n")
    monkeypatch.syspath_prepend(site)
    import stand_in_for_ww3

    monkeypatch.setattr(stand_in_for_ww3, "TransferConfig", TransferConfig)


@pytest.mark.usefixtures("advertised")
def test_a_postprocessor_is_found_by_the_name_of_its_config(our_run: Make, tmp_path: Path) -> None:
    model_run = our_run()
    (model_run.generate() / "a.ww3").touch()
    (tmp_path / "archive").mkdir()
    options = {"destinations": [str(tmp_path / "archive")], "output_types": {"*.ww3": {}}}

    for name in ("ww3_transfer", "ww3_transfer@ww3"):
        assert model_run.postprocess(name, **options).success is True
    results = model_run.pipeline(
        run_kwargs={"command": "true"}, processor="ww3_transfer", process_kwargs={"config": options}
    )

    assert (results["success"], results["processor"]) == (True, "ww3_transfer")
    assert (tmp_path / "archive" / "a.ww3").exists()
    with pytest.raises(ConfigError, match="destinations: Field required"):
        model_run.postprocess("ww3_transfer")
    with pytest.raises(PluginNotFoundError, match="known: datamesh, noop"):
        model_run.postprocess("ww3_transfr")


def test_what_says_neither_success_nor_failure_is_refused(our_run: Make) -> None:
    class Silent:
        def process(self, model_run: Any) -> object:
            return {"copied": 3}

    with pytest.raises(PluginContractError, match="must give a mapping or an object with a success"):
        our_run().postprocess(Silent())
