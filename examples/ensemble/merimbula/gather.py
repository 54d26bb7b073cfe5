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
    by_member = ("amplitude", "friction")
    inflow = (volume - volume[0])[None, None]
    return xr.Dataset(
        {
            "inflow": ((*by_member, "time"), inflow, {"long_name": "water that has come in", "units": "m3"}),
            "wall_time": (by_member, [[row.wall_time_s]], {"long_name": "wall time of the run", "units": "s"}),
        },
        {
            "amplitude": ("amplitude", [row.parameters["amplitude"]], {"long_name": "tide amplitude", "units": "m"}),
            "friction": ("friction", [row.parameters["friction"]], {"long_name": "Manning's n", "units": "s m-1/3"}),
            "time": ("time", time, {"long_name": "time since the start", "units": "s"}),
        },
    )


def draw(results: xr.Dataset, path: Path) -> None:
    """Draw the inflow over time by tide, and how much of it friction keeps out by the end."""
    import matplotlib.pyplot as plt

    amplitudes = results["amplitude"].values
    colours = mpl.colormaps["viridis"](np.linspace(0.9, 0.0, len(amplitudes)))
    least = results["friction"].values.min()
    final = results["inflow"].isel(time=-1)
    change = 100 * (final / final.sel(friction=least) - 1)
    figure, (over_time, over_friction) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for amplitude, colour in reversed(list(zip(amplitudes, colours, strict=True))):  # the largest on top, as its line
        label = f"{amplitude:.2f} m"
        series = results["inflow"].sel(amplitude=amplitude, friction=least)
        over_time.plot(results["time"] / 60, series / 1000, color=colour, label=label)
        over_friction.plot(results["friction"], change.sel(amplitude=amplitude), "o-", color=colour, label=label)
    over_time.set(
        title=f"Inflow with the least friction (n = {least:g})",
        xlabel="time since the start (min)",
        ylabel="water that has come in (1000 m³)",
    )
    over_friction.set(
        title=f"What more friction changes after {float(results['time'][-1]) / 60:g} min",
        xlabel="Manning's n (s m$^{-1/3}$)",
        ylabel=f"inflow, compared with n = {least:g} (%)",
        xticks=results["friction"],
    )
    over_time.legend(title="tide amplitude")
    for axes in (over_time, over_friction):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Merimbula Lake: the tide comes in")
    figure.savefig(path, dpi=120)
    plt.close(figure)
