"""The image of the dam break: ANUGA and Open MPI on Debian, made without an image registry.

Two steps come before the build, and both are skipped where they were done before: the wheels are downloaded, and a
base is made of Debian's packages.
"""

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

IMAGE: Final = Path(__file__).with_name("image")
DEBIAN: Final = ("python3", "python3-pip", "openmpi-bin", "libgomp1")
"""Debian's packages in the base, as the Dockerfile asks for them."""
PYTHON: Final = "3.11"
"""Debian 12's."""
GLIBC: Final = 36
"""Debian 12 has 2.36, and runs wheels that were made for any older one."""


def image_options(context: Path) -> dict[str, Any]:
    """Give the options of the docker backend that have the image built; the backend does so if it is missing.

    Args:
        context: A directory for what goes into the image.
    """
    fetch_wheels(context / "wheels")
    options: dict[str, Any] = {"dockerfile": IMAGE / "Dockerfile", "build_context": context}
    if shutil.which("mmdebstrap") and shutil.which("docker"):
        options["build_args"] = {"BASE": debian_base()}
    return options  # without a base of ours, the Dockerfile's own comes from a registry


def fetch_wheels(wheels: Path) -> None:
    """Download what pip installs into the image, for the image's Python rather than this one."""
    requirements, done = IMAGE / "requirements.txt", wheels / "requirements.txt"
    if done.is_file() and done.read_bytes() == requirements.read_bytes():
        return
    print(f"downloading wheels to {wheels}", flush=True)
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)] + [f"manylinux2014_{machine}"]
    target = ["--only-binary=:all:", f"--python-version={PYTHON}", *(f"--platform={name}" for name in platforms)]
    run(["pip", "download", "--dest", wheels, "--requirement", requirements, *target])
    shutil.copyfile(requirements, done)  # last, for it says that the rest is there


def debian_base() -> str:
    """Give the name of an image with Debian's packages; it is made unless it is there."""
    script = IMAGE / "make-base"
    recipe = [script.read_text(encoding="utf-8"), *DEBIAN]
    name = f"rompy-example/debian:{hashlib.sha256(' '.join(recipe).encode()).hexdigest()[:12]}"
    if not run(["docker", "image", "ls", "--quiet", name]).strip():
        print(f"making {name} of Debian's packages", flush=True)
        run([script, name, *DEBIAN])
    return name


def run(command: Sequence[str | Path]) -> str:
    """Run a command and give what it prints; where it fails, end with what it says."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as exc:
        raise SystemExit(f"{exc.filename} is not installed") from exc
    except subprocess.CalledProcessError as exc:
        raise SystemExit(f"{command[0]} failed:\n{exc.stdout}{exc.stderr}") from exc
