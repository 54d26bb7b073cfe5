"""The SDK is imported when an engine is first asked for something, and not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT = "import rompy_docker"
CONFIG = "import rompy_docker as r; r.DockerConfig(image='x', executable='y', volumes=['./a:/b:ro'])"
BACKEND = "import rompy_docker as r; r.DockerRunBackend()"


@pytest.mark.parametrize("source", [IMPORT, CONFIG, BACKEND], ids=["package", "config", "backend"])
def test_the_sdk_is_not_imported_before_it_is_used(source: str) -> None:
    heavy = "sorted({'docker', 'requests', 'urllib3', 'pytest', 'psutil'} & set(sys.modules))"

    loaded = _python(f"{source}; import sys; print({heavy})")

    assert loaded == "[]\n"


def test_importing_has_no_effect() -> None:
    source = f"""
import logging, signal, sys, threading
def look():
    return logging.root.handlers[:], [signal.getsignal(n) for n in range(1, 32)], threading.active_count()
before = look()
{BACKEND}
assert look() == before
assert not logging.getLogger("rompy_docker").handlers
print("same")
"""

    assert _python(source) == "same\n"


def test_all_public_names_are_there() -> None:
    import rompy_docker

    assert sorted(rompy_docker.__all__) == rompy_docker.__all__
    assert all(getattr(rompy_docker, name) is not None for name in rompy_docker.__all__)
    assert dir(rompy_docker) == rompy_docker.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rompy_docker.nothing  # noqa: B018


def _python(source: str) -> str:
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
