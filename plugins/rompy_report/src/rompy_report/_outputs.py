"""A quick look at NetCDF output: the main variables at the last time, on their mesh or grid, and a series at a point.

Understands triangles as ANUGA writes them (``x``, ``y``, ``volumes``), meshes by the UGRID conventions, and grids with
coordinates of one or two dimensions. What it does not understand is said so, and never an exception: the files are of
other hands.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs
import numpy as np
from numpy.typing import NDArray

from rompy_report._files import is_plain_file
from rompy_report._view import Field, Floats, Output, PointSeries, Whole, WrittenFiles

_SUFFIXES: Final = (".nc", ".nc4", ".cdf", ".netcdf", ".sww")
_MOST_FILES: Final = 3
_MOST_FIELDS: Final = 2
_FINEST_GRID: Final = 500
"""Cells in each direction that are drawn; a finer grid is thinned out."""
_MOST_PLACES: Final = 10_000_000
"""A mesh or grid with more nodes or cells is not read: it would fill the memory before it filled the picture."""
_LONGEST_SERIES: Final = 5000
_MAIN: Final = (
    "depth|water_?depth|h",
    "hs|hsig|h_?m0|swh|significant_?wave_?height|sea_surface_wave_significant_height",
    "stage|zs|eta|zeta|elev|ssh|s1|water_?level|sea_surface_height.*",
    "tm0?2|tp|rtp|peak_?period",
    "u|v|velocity|speed|xmomentum",
    "salt|salinity|temp|temperature",
)
"""What people look for first, as names or standard names of variables."""
_X: Final = "x|lon|longitude|easting|x_?rho|lon_?rho|xp|globalx|xc|rlon"
_Y: Final = "y|lat|latitude|northing|y_?rho|lat_?rho|yp|globaly|yc|rlat"
_COORDINATES: Final = ("longitude", "latitude", "projection_x_coordinate", "projection_y_coordinate")
_TIME: Final = "time|t|ocean_time|number_of_timesteps"


class _NotDrawnError(Exception):
    """The file can be read, and there is nothing in it to be drawn."""


@attrs.frozen(kw_only=True, eq=False)
class _Mesh:
    """Where the values of some variables lie.

    Attributes:
        dims: The dimensions that a variable on it has, in this order, beside its time and layers.
        x: Coordinates: of the nodes, or of the cells of a grid.
        y: As *x*.
        triangles: Three nodes each; ``None`` for a grid.
        faces: The face that each triangle is a part of; ``None`` where the values belong to the nodes.
        places_x: Where each value lies, for finding the one nearest to a point.
        places_y: As *places_x*.
    """

    dims: tuple[str, ...]
    x: Floats
    y: Floats
    triangles: Whole | None = None
    faces: Whole | None = None
    places_x: Floats
    places_y: Floats


def read_outputs(workspace_dir: Path, files: WrittenFiles, point: tuple[float, float] | None) -> tuple[Output, ...]:
    """Look into the NetCDF files among *files*, the largest ones first.

    Args:
        workspace_dir: The workspace.
        files: What the run wrote.
        point: x and y of the place whose time series is wanted, or ``None`` for the middle of the domain.
    """
    named = [file.name for file in files.largest if file.name.lower().endswith(_SUFFIXES)]
    return tuple(_read_output(workspace_dir / name, name, point) for name in named[:_MOST_FILES])


def _read_output(path: Path, name: str, point: tuple[float, float] | None) -> Output:
    try:
        import xarray
    except ImportError:
        return Output(file=name, problem='xarray and netCDF4 are not installed: pip install "rompy-report[netcdf]"')
    if not is_plain_file(path):
        return Output(file=name, problem="the file is gone")
    try:
        with _opened(xarray, path) as dataset:
            return _look_at(dataset, name, point)
    except _NotDrawnError as exc:
        return Output(file=name, problem=str(exc))
    except Exception as exc:  # noqa: BLE001 - a damaged file makes the libraries below raise anything
        return Output(file=name, problem=f"it cannot be read: {type(exc).__name__}: {exc}")


def _opened(xarray: Any, path: Path) -> Any:
    try:
        return xarray.open_dataset(path, engine="netcdf4", cache=False, decode_timedelta=False)
    except ValueError:  # times that no calendar has
        return xarray.open_dataset(path, engine="netcdf4", cache=False, decode_times=False)


def _look_at(dataset: Any, name: str, point: tuple[float, float] | None) -> Output:
    if "time" in dataset.data_vars:
        dataset = dataset.set_coords("time")
    if {"time", "volumes"} <= set(dataset.variables):
        dataset["time"].attrs.setdefault("units", "s")  # ANUGA counts seconds, and does not say so
    fields: list[Field] = []
    series: list[PointSeries] = []
    for variable, mesh in itertools.islice(_main_variables(dataset), _MOST_FIELDS):
        fields.append(_field(variable, mesh))
        if (one := _point_series(variable, mesh, point)) is not None:
            series.append(one)
    if not fields:
        return Output(file=name, problem="no variable on a mesh or grid that is understood here")
    return Output(file=name, fields=tuple(fields), series=tuple(series))


# --- which variables, and where they lie


def _main_variables(dataset: Any) -> Iterator[tuple[Any, _Mesh]]:
    """Give what people look for first, then all that changes with time, then the rest."""
    meshes = list(_meshes(dataset))
    if (depth := _anuga_depth(dataset)) is not None:
        yield from ((depth, mesh) for mesh in meshes[:1] if depth.dims[-1:] == mesh.dims)
    found: list[tuple[int, str, Any, _Mesh]] = []
    for name, variable in dataset.data_vars.items():
        if variable.dtype.kind not in "fiu":
            continue
        mesh = next((mesh for mesh in meshes if _lies_on(variable, mesh)), None)
        if mesh is not None and not _is_geometry(variable):
            found.append((_rank(str(name), variable), str(name), variable, mesh))
    yield from ((variable, mesh) for _, _, variable, mesh in sorted(found, key=lambda one: one[:2]))


def _lies_on(variable: Any, mesh: _Mesh) -> bool:
    return tuple(dim for dim in variable.dims if dim in mesh.dims) == tuple(mesh.dims)


class _Depth:
    """ANUGA's depth, which it does not write: the stage above the bed, computed where it is asked for."""

    name = "depth"

    def __init__(self, stage: Any, bed: Any) -> None:
        self._stage = stage
        self._bed = bed
        self.dims = stage.dims
        self.sizes = stage.sizes
        self.coords = stage.coords
        self.attrs = {"long_name": "depth of the water", "units": stage.attrs.get("units", "m")}

    def isel(self, at: Mapping[str, Any]) -> Any:
        """Give the depth at some indices, as xarray does."""
        return self._stage.isel(at) - self._bed.isel({dim: n for dim, n in at.items() if dim in self._bed.dims})


def _anuga_depth(dataset: Any) -> Any:
    has_all = {"volumes", "stage", "elevation"} <= set(dataset.variables)
    return _Depth(dataset["stage"], dataset["elevation"]) if has_all else None


def _rank(name: str, variable: Any) -> int:
    names = (name.lower(), str(variable.attrs.get("standard_name", "")).lower())
    for rank, words in enumerate(_MAIN):
        if any(re.fullmatch(words, one) for one in names):
            return rank
    return len(_MAIN) + (_time_dim(variable) is None)


def _is_geometry(variable: Any) -> bool:
    name = str(variable.name).lower()
    is_coordinate = re.fullmatch(f"{_X}|{_Y}|{_TIME}", name) or variable.attrs.get("standard_name") in _COORDINATES
    return bool("cf_role" in variable.attrs or is_coordinate or re.search(r"_c$|^volumes$|connect|mask", name))


def _meshes(dataset: Any) -> Iterator[_Mesh]:
    if max((size for dim, size in dataset.sizes.items() if not _is_time(dim)), default=0) > _MOST_PLACES:
        raise _NotDrawnError(f"it has more than {_MOST_PLACES} nodes or cells, which is too many for a quick look")
    if {"x", "y", "volumes"} <= set(dataset.variables):
        yield from _anuga_mesh(dataset)
    for variable in dataset.variables.values():
        if variable.attrs.get("cf_role") == "mesh_topology":
            yield from _ugrid_meshes(dataset, variable.attrs)
    yield from (mesh for mesh in _grids(dataset) if mesh.x.size <= _MOST_PLACES)


def _anuga_mesh(dataset: Any) -> Iterator[_Mesh]:
    x = _floats(dataset["x"]) + float(dataset.attrs.get("xllcorner", 0.0))
    y = _floats(dataset["y"]) + float(dataset.attrs.get("yllcorner", 0.0))
    corners = np.asarray(dataset["volumes"].values).astype(np.int64)
    triangles, _ = _checked(corners, np.arange(len(corners)), x.size)
    yield _Mesh(dims=dataset["x"].dims, x=x, y=y, triangles=triangles, places_x=x, places_y=y)


def _ugrid_meshes(dataset: Any, topology: Any) -> Iterator[_Mesh]:
    names = str(topology.get("node_coordinates", "")).split()
    connectivity = dataset.variables.get(str(topology.get("face_node_connectivity", "")))
    if len(names) < 2 or connectivity is None or connectivity.ndim != 2 or not set(names) <= set(dataset.variables):
        return
    x, y = _floats(dataset[names[0]]), _floats(dataset[names[1]])
    corners = np.asarray(connectivity.values, dtype=np.float64)
    face_dim = str(topology.get("face_dimension", connectivity.dims[0]))
    if connectivity.dims[0] != face_dim:
        corners = corners.T
    # xarray has made the fill value a NaN where it was declared; what is left below zero is one as well.
    corners = np.where(np.isfinite(corners), corners - float(connectivity.attrs.get("start_index", 0)), -1)
    triangles, faces = _checked(*_cut(corners.astype(np.int64)), x.size)
    centre_x, centre_y = _centres(corners.astype(np.int64), x), _centres(corners.astype(np.int64), y)
    yield _Mesh(dims=dataset[names[0]].dims, x=x, y=y, triangles=triangles, places_x=x, places_y=y)
    yield _Mesh(
        dims=(face_dim,), x=x, y=y, triangles=triangles, faces=faces, places_x=centre_x, places_y=centre_y
    )  # fmt: skip


def _cut(corners: Whole) -> tuple[Whole, Whole]:
    """Cut each face into triangles that share its first corner; gives them, and the face of each."""
    faces = np.arange(len(corners))
    parts = [corners[:, [0, n, n + 1]] for n in range(1, corners.shape[1] - 1)]
    return np.concatenate(parts), np.concatenate([faces] * len(parts))


def _checked(triangles: Whole, faces: Whole, count: int) -> tuple[Whole, Whole]:
    """Keep the triangles, and the face of each, whose corners are among *count* nodes."""
    good = ((triangles >= 0) & (triangles < count)).all(axis=1)
    if not good.any():
        raise _NotDrawnError("the mesh has no triangle whose corners are nodes of it")
    return triangles[good], faces[good]


def _centres(corners: Whole, coordinate: Floats) -> Floats:
    there = (corners >= 0) & (corners < coordinate.size)
    total = np.where(there, coordinate[np.where(there, corners, 0)], 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(there.sum(axis=1), 1))


def _grids(dataset: Any) -> Iterator[_Mesh]:
    """Give the grids: by coordinates of two dimensions, and by two of one dimension each."""
    xs = [variable for name, variable in dataset.variables.items() if _is_axis(name, variable, _X, "x")]
    ys = [variable for name, variable in dataset.variables.items() if _is_axis(name, variable, _Y, "y")]
    for x, y in itertools.product(xs, ys):
        if x.ndim == 2 and x.dims == y.dims:
            across, along = np.asarray(x.values, dtype=np.float64), np.asarray(y.values, dtype=np.float64)
            yield _Mesh(dims=x.dims, x=across, y=along, places_x=across, places_y=along)
        elif x.ndim == 1 and y.ndim == 1 and x.dims != y.dims:
            for transposed in (False, True):
                across, along = np.meshgrid(_floats(x), _floats(y), indexing="ij" if transposed else "xy")
                dims = (*x.dims, *y.dims) if transposed else (*y.dims, *x.dims)
                yield _Mesh(dims=dims, x=across, y=along, places_x=across, places_y=along)


def _is_axis(name: object, variable: Any, words: str, axis: str) -> bool:
    is_named = re.fullmatch(words, str(name).lower()) or str(variable.attrs.get("axis", "")).lower() == axis
    return bool(is_named) and variable.ndim in (1, 2) and variable.dtype.kind in "fiu"


# --- values


def _field(variable: Any, mesh: _Mesh) -> Field:
    time = _time_dim(variable)
    if time is not None and not variable.sizes[time]:
        raise _NotDrawnError("it has no time in it; a run that was ended may leave such a file")
    at = {dim: -1 for dim in variable.dims if dim not in mesh.dims}  # the last time; of layers, the last as well
    thin: dict[str, slice] = {}
    if mesh.triangles is None:
        thin = {dim: slice(None, None, -(-int(variable.sizes[dim]) // _FINEST_GRID)) for dim in mesh.dims}
    values = _floats(variable.isel({**at, **thin}))
    if mesh.faces is not None:
        values = values[mesh.faces]
    steps = tuple(thin[dim] for dim in mesh.dims) if thin else (slice(None),)
    return Field(
        name=str(variable.name),
        label=_label(variable),
        unit=_unit(variable),
        when=_when(variable, time),
        x=mesh.x[steps],
        y=mesh.y[steps],
        triangles=mesh.triangles,
        values=values,
    )


def _point_series(variable: Any, mesh: _Mesh, point: tuple[float, float] | None) -> PointSeries | None:
    time = _time_dim(variable)
    if time is None or variable.sizes[time] < 2:
        return None
    x, y = point if point is not None else (_middle(mesh.places_x), _middle(mesh.places_y))
    distance = np.hypot(mesh.places_x - x, mesh.places_y - y)
    nearest = np.unravel_index(int(np.nanargmin(distance)), distance.shape)
    at: dict[str, Any] = {dim: -1 for dim in variable.dims if dim not in (*mesh.dims, time)}
    at |= {dim: int(index) for dim, index in zip(mesh.dims, nearest, strict=True)}
    every = slice(None, None, -(-variable.sizes[time] // _LONGEST_SERIES))
    one = variable.isel({**at, time: every})
    times, time_label = _times(one, time)
    return PointSeries(
        name=str(variable.name),
        label=_label(variable),
        unit=_unit(variable),
        at=(float(mesh.places_x[nearest]), float(mesh.places_y[nearest])),
        times=times,
        time_label=time_label,
        values=_floats(one),
    )


def _middle(places: Floats) -> float:
    return float((np.nanmin(places) + np.nanmax(places)) / 2)


def _time_dim(variable: Any) -> str | None:
    return next((dim for dim in variable.dims if _is_time(dim)), None)


def _is_time(dim: object) -> bool:
    return re.fullmatch(_TIME, str(dim).lower()) is not None


def _time_values(variable: Any, dim: str) -> Any:
    """Give the times of *variable*, also where their name is not that of their dimension (ANUGA)."""
    for name in (dim, "time"):
        if name in variable.coords and variable.coords[name].dims == (dim,):
            return variable.coords[name]
    return None


def _times(variable: Any, dim: str) -> tuple[NDArray[Any], str]:
    times = _time_values(variable, dim)
    if times is not None and times.dtype.kind == "M":
        return np.asarray(times.values), "time (UTC)"
    if times is not None and times.dtype.kind in "fiu":
        return _floats(times), f"time ({times.attrs['units']})" if "units" in times.attrs else "time"
    return np.arange(variable.sizes[dim], dtype=np.float64), "step"


def _when(variable: Any, dim: str | None) -> str:
    if dim is None:
        return ""
    times, label = _times(variable, dim)
    last = times[-1]
    if label.startswith("time (UTC"):
        return f"{str(last.astype('datetime64[s]')).replace('T', ' ')} UTC"
    if label == "step":
        return f"step {int(last) + 1}"
    return f"time {float(last):g} {label.removeprefix('time').strip(' ()')}".strip()


def _label(variable: Any) -> str:
    given = variable.attrs.get("long_name") or variable.attrs.get("standard_name") or variable.name
    return str(given).replace("_", " ")


def _unit(variable: Any) -> str:
    unit = str(variable.attrs.get("units", ""))
    return "" if unit == "1" else unit


def _floats(variable: Any) -> Floats:
    return np.asarray(variable.values, dtype=np.float64)
