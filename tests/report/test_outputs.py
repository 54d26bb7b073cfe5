from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
from tests.report.inspecting import Page

from rompy_core import RunReport
from rompy_report._files import written_files
from rompy_report._outputs import read_outputs
from rompy_report._view import Output, WrittenFile, WrittenFiles

CORNERS = [[0, 1, 2], [1, 3, 2]]
X, Y = [0.0, 10.0, 0.0, 10.0], [0.0, 0.0, 5.0, 5.0]


def look_at(directory: Path, point: tuple[float, float] | None = None) -> Output:
    (output,) = read_outputs(directory, written_files(directory, 0.0, None), point)
    return output


def variable(file: Any, name: str, dims: tuple[str, ...], values: Any, kind: str = "f8", **attributes: Any) -> None:
    made = file.createVariable(name, kind, dims, fill_value=attributes.pop("fill", None))
    made.setncatts(attributes)
    made[:] = values


def write_sww(path: Path) -> None:
    """As ANUGA writes it: triangles, static elevation, momentum, values at centroids, ranges."""
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as sww:
        for name, size in (("number_of_points", 4), ("number_of_volumes", 2), ("number_of_vertices", 3), ("two", 2)):
            sww.createDimension(name, size)
        sww.createDimension("number_of_timesteps", None)
        sww.setncatts({"xllcorner": 1000.0, "yllcorner": 2000.0})
        variable(sww, "x", ("number_of_points",), X, "f4")
        variable(sww, "y", ("number_of_points",), Y, "f4")
        variable(sww, "volumes", ("number_of_volumes", "number_of_vertices"), CORNERS, "i4")
        variable(sww, "time", ("number_of_timesteps",), [0.0, 30.0, 60.0])
        nodes = ("number_of_timesteps", "number_of_points")
        variable(sww, "elevation", ("number_of_points",), [-1, -2, -3, -4], "f4")
        variable(sww, "elevation_c", ("number_of_volumes",), [-1, -2], "f4")
        variable(sww, "xmomentum", nodes, np.zeros((3, 4)), "f4")
        variable(sww, "stage", nodes, [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 3]], "f4")
        variable(sww, "stage_range", ("two",), [0, 3], "f4")


def write_ugrid(path: Path, *, start: int = 1) -> None:
    """A mesh of a triangle and a quadrilateral, by the UGRID conventions."""
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("nodes", 5), ("faces", 2), ("corners", 4), ("time", 2), ("layers", 3)):
            file.createDimension(name, size)
        variable(
            file, "mesh", (), 0, "i4", cf_role="mesh_topology", topology_dimension=2, node_coordinates="lon lat",
            face_node_connectivity="face_nodes", face_dimension="faces",
        )  # fmt: skip
        variable(file, "lon", ("nodes",), [0, 1, 1, 0, 2], standard_name="longitude")
        variable(file, "lat", ("nodes",), [0, 0, 1, 1, 0.5], standard_name="latitude")
        connectivity = np.ma.masked_equal([[0, 1, 2, 3], [1, 4, 2, -9]], -9) + start
        variable(file, "face_nodes", ("faces", "corners"), connectivity, "i4", fill=-999, start_index=start)
        variable(file, "time", ("time",), [0, 6], units="hours since 2026-01-01 00:00:00")
        facts = {"mesh": "mesh", "units": "m", "standard_name": "sea_surface_height_above_geoid"}
        variable(file, "level", ("time", "faces"), [[0, 0], [1.5, 2.5]], location="face", **facts)
        variable(file, "salt", ("time", "nodes", "layers"), np.arange(30).reshape(2, 5, 3), location="node", units="1")


def write_grid(path: Path, *, two: bool) -> None:
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 2), ("n", 3), ("m", 4)):
            file.createDimension(name, size)
        x, y = np.meshgrid([0.0, 1, 2, 3], [10.0, 11, 12])
        variable(file, "x" if two else "lon", ("n", "m") if two else ("m",), x if two else x[0])
        variable(file, "y" if two else "lat", ("n", "m") if two else ("n",), y if two else y[:, 0])
        values = np.arange(24.0).reshape(2, 3, 4)
        values[1, 0, 0] = -999
        variable(file, "hs", ("time", "n", "m"), values, units="m", long_name="significant wave height", fill=-999.0)


def test_anuga_s_depth_and_stage_are_drawn_on_its_triangles_at_the_last_time(tmp_path: Path) -> None:
    write_sww(tmp_path / "flood.sww")

    output = look_at(tmp_path)

    assert output.problem == ""
    depth, stage = output.fields
    assert (depth.name, depth.unit, depth.when) == ("depth", "m", "time 60 s")
    assert depth.values.tolist() == [3, 4, 5, 7]
    assert stage.name == "stage"
    assert stage.values.tolist() == [2, 2, 2, 3]
    assert depth.triangles is not None
    assert depth.triangles.tolist() == CORNERS
    assert depth.x.tolist() == [1000, 1010, 1000, 1010]


def test_a_series_is_that_of_the_place_nearest_to_the_point(tmp_path: Path) -> None:
    write_sww(tmp_path / "flood.sww")

    depth, stage = look_at(tmp_path, (1011.0, 2006.0)).series

    assert stage.at == (1010, 2005)
    assert stage.times.tolist() == [0, 30, 60]
    assert stage.time_label == "time (s)"
    assert stage.values.tolist() == [0, 1, 3]
    assert depth.values.tolist() == [4, 5, 7]


@pytest.mark.parametrize("start", [0, 1])
def test_a_ugrid_mesh_is_cut_into_triangles_with_the_values_of_their_faces(tmp_path: Path, start: int) -> None:
    write_ugrid(tmp_path / "mesh.nc", start=start)

    output = look_at(tmp_path)

    assert output.problem == ""
    level, salt = output.fields
    assert level.triangles is not None
    assert sorted(map(tuple, level.triangles.tolist())) == [(0, 1, 2), (0, 2, 3), (1, 4, 2)]
    by_triangle = dict(zip(map(tuple, level.triangles.tolist()), level.values.tolist(), strict=True))
    assert by_triangle == {(0, 1, 2): 1.5, (0, 2, 3): 1.5, (1, 4, 2): 2.5}
    assert level.when == "2026-01-01 06:00:00 UTC"
    assert (salt.name, salt.unit) == ("salt", "")


def test_values_with_layers_are_shown_on_their_nodes(tmp_path: Path) -> None:
    write_ugrid(tmp_path / "mesh.nc")

    salt = look_at(tmp_path).fields[1]

    assert salt.values.tolist() == [17, 20, 23, 26, 29]


@pytest.mark.parametrize("two", [False, True], ids=["one dimension", "two dimensions"])
def test_a_grid_is_drawn_by_its_coordinates(tmp_path: Path, two: bool) -> None:
    write_grid(tmp_path / "waves.nc", two=two)

    output = look_at(tmp_path, (2.2, 11.9))

    (hs,) = output.fields
    assert hs.label == "significant wave height"
    assert hs.values.shape == hs.x.shape == hs.y.shape == (3, 4)
    assert np.isnan(hs.values[0, 0])
    assert hs.values[2, 3] == 23
    (series,) = output.series
    assert series.at == (2, 12)
    assert series.values.tolist() == [10, 22]


def test_a_fine_grid_is_thinned_out(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "fine.nc", "w") as file:
        file.createDimension("lat", 3)
        file.createDimension("lon", 5000)
        variable(file, "lat", ("lat",), [0, 1, 2])
        variable(file, "lon", ("lon",), np.arange(5000) / 100)
        variable(file, "depth", ("lat", "lon"), np.zeros((3, 5000)))

    (depth,) = look_at(tmp_path).fields

    assert depth.values.shape == (3, 500)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it cannot be read"),
        (b"CDF\x01" + b"\xff" * 60, "it cannot be read"),
        (b"\x89HDF\r\n\x1a\n", "cannot be read"),
    ],
)
def test_a_damaged_file_is_said_so(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "torn.nc").write_bytes(content)

    assert problem in look_at(tmp_path).problem


def test_a_file_with_no_time_in_it_is_said_so(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "early.nc", "w") as file:
        file.createDimension("time", None)
        file.createDimension("lat", 2)
        file.createDimension("lon", 2)
        variable(file, "lat", ("lat",), [0, 1])
        variable(file, "lon", ("lon",), [0, 1])
        file.createVariable("hs", "f8", ("time", "lat", "lon"))

    assert "it has no time in it" in look_at(tmp_path).problem


def test_what_is_on_no_mesh_is_said_so(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "numbers.nc", "w") as file:
        file.createDimension("n", 2)
        variable(file, "energy", ("n",), [0, 1])

    assert "no variable on a mesh or grid" in look_at(tmp_path).problem


def test_the_page_shows_each_variable_with_its_range_in_words(
    record: Callable[..., RunReport], page_of: Callable[..., Page], tmp_path: Path
) -> None:
    report = record("flood")
    assert report.record_dir is not None
    write_sww(report.record_dir.parent.parent / "flood.sww")

    page = page_of(report, point=(1000, 2000))

    assert "depth of the water (depth) at time 60 s. From 3 m to 7 m." in page.words
    assert "stage at x = 1000, y = 2000. From 0 to 2." in page.words
    assert len(page.all("img")) == 4
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        "report.html", "output-1-depth.png", "output-1-stage.png", "output-1-depth-at-point.png",
        "output-1-stage-at-point.png",
    }  # fmt: skip


def test_what_cannot_be_drawn_is_said_so_and_the_rest_of_the_page_is_there(
    record: Callable[..., RunReport], page_of: Callable[..., Page]
) -> None:
    report = record("flood")
    assert report.record_dir is not None
    write_sww(report.record_dir.parent.parent / "flood.sww")
    with netCDF4.Dataset(report.record_dir.parent.parent / "flood.sww", "a") as sww:
        sww["x"][:] = np.nan

    page = page_of(report)

    assert "Not drawn:" in page.words
    assert not page.all("img")
    assert "Settings" in page.words


def test_without_the_libraries_the_page_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    files = WrittenFiles(largest=(WrittenFile(name="a.nc", size_bytes=1, written_at=None),), count=1, size_bytes=1)  # type: ignore[arg-type]

    (output,) = read_outputs(tmp_path, files, None)

    assert 'pip install "rompy-report[netcdf]"' in output.problem


def test_looking_into_files_can_be_switched_off(record: Callable[..., RunReport], page_of: Callable[..., Page]) -> None:
    report = record("flood")
    assert report.record_dir is not None
    write_sww(report.record_dir.parent.parent / "flood.sww")

    page = page_of(report, netcdf=False)

    assert not page.all("img")
    assert "flood.sww" in page.words
