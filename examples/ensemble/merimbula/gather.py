"""Of all members one dataset, and of that one picture."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr

from rompy_ensemble import EnsembleReport, MemberRow

mpl.use("Agg")


def gather(report: EnsembleReport) -> xr.Dataset:
    """Give the water that has come into the lake, by tide amplitude, friction and time.

    Members that are not finished are missing values.

    Args:
        report: The table of results; ``amplitude`` and ``friction`` are columns of it.

    Returns:
        ``inflow`` (amplitude, friction, time) in cubic metres, ``wall_time`` (amplitude, friction) in seconds.
    """
    members = [_member(row) for row in report if row.ok]
    return xr.combine_by_coords(members, join="outer", combine_attrs="drop_conflicts")  # type: ignore[return-value]


def _member(row: MemberRow) -> xr.Dataset:
    with xr.open_dataset(row.workspace_dir / "lake.sww", decode_times=False) as output:
        corners = output["volumes"].values
        x, y = output["x"].values[corners], output["y"].values[corners]
        area = np.abs((x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])) / 2
        depth = output["stage_c"].values - output["elevation_c"].values
        volume = depth @ area
        time = output["time"].values
    point = {"amplitude": [row.parameters["amplitude"]], "friction": [row.parameters["friction"]]}
    return xr.Dataset(
        {
            "inflow": (("amplitude", "friction", "time"), (volume - volume[0])[None, None], {"units": "m3"}),
            "wall_time": (("amplitude", "friction"), [[row.wall_time_s]], {"units": "s"}),
        },
        {**point, "time": ("time", time, {"units": "s"})},
    )


def draw(results: xr.Dataset, path: Path) -> None:
    """Draw what has come in by the end, and when it came."""
    import matplotlib.pyplot as plt

    figure, (field, lines) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    final = results["inflow"].isel(time=-1)
    shades = field.pcolormesh(results["friction"], results["amplitude"], final, shading="nearest", cmap="viridis")
    figure.colorbar(shades, ax=field, label="inflow at the end (m³)")
    field.set(
        xlabel="Manning's friction",
        ylabel="tide amplitude (m)",
        xticks=results["friction"],
        yticks=results["amplitude"],
    )
    for amplitude in results["amplitude"].values:
        series = results["inflow"].sel(amplitude=amplitude).mean("friction")
        lines.plot(results["time"] / 60, series, label=f"{amplitude:g} m")
    lines.set(xlabel="time (min)", ylabel="inflow, mean over friction (m³)")
    lines.legend(title="tide amplitude")
    figure.savefig(path, dpi=120)
    plt.close(figure)
