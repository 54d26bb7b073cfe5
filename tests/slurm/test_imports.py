"""Importing the package costs next to nothing and changes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT = "import rompy_slurm"
BACKEND = "import rompy_slurm as r; r.SlurmRunBackend()"


def test_importing_imports_neither_the_local_backend_nor_what_it_needs() -> None:
    heavy = "sorted({'rompy_local', 'psutil', 'cloudpickle', 'docker', 'pytest', 'asyncio'} & set(sys.modules))"

    assert _python(f"{IMPORT}; import sys; print({heavy}, 'attrs' in sys.modules)") == "[] False\n"


def test_importing_has_no_effect() -> None:
    source = f"""
import logging, signal, threading
def look():
    return logging.root.handlers[:], [signal.getsignal(n) for n in range(1, 32)], threading.active_count()
before = look()
{BACKEND}
assert look() == before
assert not logging.getLogger("rompy_slurm").handlers
print("same")
"""

    assert _python(source) == "same\n"


def test_all_public_names_are_there() -> None:
    import rompy_slurm

    assert sorted(rompy_slurm.__all__) == rompy_slurm.__all__
    assert all(getattr(rompy_slurm, name) is not None for name in rompy_slurm.__all__)
    assert dir(rompy_slurm) == rompy_slurm.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        rompy_slurm.nothing  # noqa: B018


def _python(source: str) -> str:
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
