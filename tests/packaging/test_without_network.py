from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IN_A_NETWORK_OF_ITS_OWN = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
WITH_LOOPBACK_ALONE = ["sh", "-c", 'test "$(grep -c : /proc/net/dev)" = 1 && exec "$@"', "sh"]
COLLECT = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", "-p", "no:cacheprovider", "tests"]


def _has_network_namespaces() -> bool:
    return (
        bool(shutil.which("unshare"))
        and subprocess.run([*IN_A_NETWORK_OF_ITS_OWN, "true"], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.timeout(180)
@pytest.mark.skipif(
    not _has_network_namespaces() and "CI" not in os.environ,
    reason="a network namespace cannot be made here: that takes unshare, and root or a kernel that lets users",
)
def test_all_tests_are_collected_without_a_network() -> None:
    done = subprocess.run(
        [*IN_A_NETWORK_OF_ITS_OWN, *WITH_LOOPBACK_ALONE, *COLLECT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    for folder in ("core", "local", "docker", "contract"):
        assert f"tests/{folder}/test_" in done.stdout
