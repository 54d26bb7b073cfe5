from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator

import docker
import docker.errors
import pytest
from tests.docker import engines


@contextlib.contextmanager
def _no_image_left(address: str) -> Generator[None]:
    """Remove the images that are made meanwhile by the example and the recipes."""
    with contextlib.closing(docker.APIClient(base_url=address, version="auto")) as api:
        before = {image["Id"] for image in api.images()}
        yield
        for image in sorted(api.images(), key=lambda image: int(image["Created"]), reverse=True):
            is_ours = "rompy.example" in (image["Labels"] or ()) or "rompy-built/" in str(image["RepoTags"])
            if is_ours and image["Id"] not in before:
                with contextlib.suppress(docker.errors.ImageNotFound):
                    api.remove_image(image["Id"], force=True)


@pytest.fixture(scope="session")
def engine() -> Generator[str]:
    """The address of the engine that the tests run against."""
    missing = [program for program in ("mmdebstrap", "docker") if shutil.which(program) is None]
    if missing:
        engines.unavailable(f"not on this machine: {', '.join(missing)}; on Debian: apt-get install mmdebstrap")
    with contextlib.ExitStack() as stack:
        address = os.environ.get("ROMPY_TEST_ENGINE") or engines.default_engine()
        if address is None:
            address = stack.enter_context(engines.private_engine("docker")).address
        stack.enter_context(engines.nothing_left(address))
        stack.enter_context(_no_image_left(address))
        yield address
