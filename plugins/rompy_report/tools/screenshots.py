"""Make real runs, write their reports, and take pictures of these by Chromium, for the documentation.

    uv run --group test python plugins/rompy_report/tools/screenshots.py docs/screenshots

Needs Debian's chromium (``.ci/browser``). A run of each kind: one that completes, one that meets its wall-clock limit,
one that fails at a fatal line; and 50 runs side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import chromium
from PIL import Image

import rompy_report
from rompy_core import FilesConfig, ModelRun

DESKTOP: Final = (1280, 900)
PHONE: Final = (390, 844)
LARGEST_BYTES: Final = 200_000

RULES: Final = {
    "required_files": ["basin.sww"],
    "fatal": [r"^ERROR:"],
    "progress": r"^Time = (?P<current>[\d.]+) / (?P<total>[\d.]+) s$",
}

MODEL: Final = '''
"""Water that was piled up swings to and fro in a closed basin: the linear solution, on a mesh of triangles."""
import sys, time
import netCDF4
import numpy as np

name, steps, pace_s, fails_at = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
n, length = 70, 10_000.0
y, x = (places.ravel() for places in np.meshgrid(*[np.linspace(0, length, n)] * 2, indexing="ij"))
corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
volumes = np.concatenate([np.c_[corner, corner + 1, corner + n], np.c_[corner + 1, corner + n + 1, corner + n]])
bed = -10 - 15 * np.exp(-((x - 6500) ** 2 + (y - 3500) ** 2) / 9e6)
modes = [(k, m) for k in range(9) for m in range(9) if k + m]
shape = [np.cos(k * np.pi * x / length) * np.cos(m * np.pi * y / length) for k, m in modes]
share = [np.exp(-0.045 * (k * k + m * m)) * np.cos(k * 0.9) * np.cos(m * 0.9) for k, m in modes]
speed = [np.sqrt(9.81 * 15) * np.pi / length * np.hypot(k, m) for k, m in modes]
print(f"Basin of {length / 1000:.0f} km, {x.size} nodes, {len(volumes)} triangles", flush=True)
with netCDF4.Dataset(name, "w") as sww:
    sww.createDimension("number_of_points", x.size)
    sww.createDimension("number_of_volumes", len(volumes))
    sww.createDimension("number_of_vertices", 3)
    sww.createDimension("number_of_timesteps", None)
    for key, values in (("x", x), ("y", y), ("elevation", bed)):
        sww.createVariable(key, "f8", ("number_of_points",))[:] = values
    sww.createVariable("volumes", "i4", ("number_of_volumes", "number_of_vertices"))[:] = volumes
    times = sww.createVariable("time", "f8", ("number_of_timesteps",))
    stage = sww.createVariable("stage", "f8", ("number_of_timesteps", "number_of_points"))
    times.units, stage.units, stage.long_name = "s", "m", "water level"
    kept = []
    for step in range(steps + 1):
        until = time.monotonic() + pace_s
        moment = 15.0 * step
        stage[step] = 0.12 * sum(a * np.cos(w * moment) * f for a, w, f in zip(share, speed, shape))
        times[step] = moment
        sww.sync()
        kept.append(bytearray(600_000))
        while time.monotonic() < until - pace_s * 0.35 * (step % 10 > 6):
            np.sort(np.random.default_rng(step).random(20_000))
        time.sleep(max(until - time.monotonic(), 0))
        print(f"Time = {moment:.1f} / {15.0 * steps:.1f} s", flush=True)
        print(f"  mean level {stage[step].mean():+.5f} m, Courant number {0.42 + 0.02 * np.sin(step):.3f}", flush=True)
        if step == fails_at:
            print("WARNING: water level changes by 4.1 m within one step at node 2417", flush=True)
            print("ERROR: time step below 1e-06 s at node 2417, the solution has diverged", flush=True)
            time.sleep(30)
'''


def main() -> None:
    """Make the runs, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the pictures go")
    directory: Path = parser.parse_args().directory.absolute()
    program = chromium.find()
    if program is None:
        parser.error("there is no chromium on this machine; .ci/browser installs it")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        contextlib.chdir(scratch),  # so that the pages name no directory of this machine
        chromium.Chromium(program) as browser,
    ):
        pages = {name: rompy_report.write_report(path) for name, path in single_runs(Path("simulations")).items()}
        pages["comparison"] = rompy_report.compare(ensemble(Path("ensemble")))
        directory.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            shoot(browser, page, directory / f"{name}-desktop.png", DESKTOP)
            shoot(browser, page, directory / f"{name}-phone.png", PHONE)
        shoot(browser, pages["completed"], directory / "completed-dark.png", DESKTOP, dark=True)


def single_runs(top: Path) -> dict[str, Path]:
    """Make a run that completes, one that takes too long, and one that fails; gives the workspaces."""
    cases: dict[str, dict[str, Any]] = {
        "completed": {"run_id": "seiche-2026-11", "words": ("120", "0.08", "-1"), "timeout": 120},
        "timed-out": {"run_id": "seiche-fine-mesh", "words": ("400", "0.05", "-1"), "timeout": 6},
        "failed": {"run_id": "seiche-long-step", "words": ("200", "0.06", "74"), "timeout": 120},
    }
    found: dict[str, Path] = {}
    for name, case in cases.items():
        model = ModelRun(run_id=case["run_id"], output_dir=top, config=FilesConfig(files={"basin.py": MODEL}))
        model.pipeline(
            run_backend="local",
            run_kwargs={
                "command": ["python3", "basin.py", "basin.sww", *case["words"]],
                "timeout": case["timeout"],
                "grace_s": 1,
                "memory": "256m",
                "sample_interval_s": 0.1,
                "env_vars": {"OMP_NUM_THREADS": "1", "MODEL_LICENCE": "not shown"},
                "rules": RULES,
            },
        )
        found[name] = top / case["run_id"]
    return found


def ensemble(top: Path) -> Path:
    """Make 50 short runs of several endings; gives the directory."""
    source = "import sys, time; a = bytearray(int(sys.argv[1]) * 10**6); time.sleep(float(sys.argv[2])); {}"
    for n in range(50):
        ending = "print('done')"
        options: dict[str, Any] = {"timeout": 30}
        if n % 13 == 5:
            ending = "print('ERROR: negative depth at cell 118'); sys.exit(1)"
            options["rules"] = {"fatal": "^ERROR"}
        elif n % 17 == 9:
            ending, options["timeout"] = "time.sleep(30)", 0.6
        elif n == 30:
            ending, options["memory"] = "b = bytearray(400 * 10**6); time.sleep(5)", "200m"
        model = ModelRun(run_id=f"ensemble-{n + 1:02d}", output_dir=top)
        words = ["python3", "-c", source.format(ending), str(5 + n * 37 % 61), f"{0.05 + n * 29 % 23 / 60:.3f}"]
        with contextlib.suppress(TimeoutError):
            model.run("local", command=words, grace_s=0.2, **options)
        if n % 3 == 0:
            rompy_report.write_report(top / model.run_id, netcdf=False)
    return top


def shoot(browser: chromium.Chromium, page: Path, target: Path, size: tuple[int, int], *, dark: bool = False) -> None:
    """Keep a picture of *page*, small enough for a repository: in 256 colours, and cut off where it is very long."""
    browser.open(page, width=size[0], height=size[1], dark=dark)
    small = io.BytesIO()
    for height in range(2600, 800, -150):
        picture = Image.open(io.BytesIO(browser.screenshot(most=height))).convert("RGB")
        small = io.BytesIO()
        picture.quantize(256, kmeans=1, dither=Image.Dither.NONE).save(small, "png", optimize=True)
        if small.tell() < LARGEST_BYTES:
            break
    target.write_bytes(small.getvalue())
    print(f"{target}: {small.tell() / 1000:.0f} kB")


if __name__ == "__main__":
    main()
