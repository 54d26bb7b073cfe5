"""The images that the tests run, made of this machine's Debian packages: no registry is asked.

They are made once and kept as archives in ``ROMPY_TEST_CACHE``. By hand, into engines that are to have them:
``python tests/docker/images.py unix:///run/docker.sock ...``.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Final, NamedTuple

import docker
import docker.errors

REPOSITORY: Final = "localhost/rompy-test"
"""A name that Docker and Podman both leave as it is, and that neither finds anywhere else."""
LABEL: Final = "rompy-test"
"""Its value tells one making of an image from another."""

_SOURCE: Final = r"""
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv) {
    int rank, ranks;
    char name[32];
    FILE *file;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    printf("rank %d of %d\n", rank, ranks);
    fflush(stdout);
    snprintf(name, sizeof name, "rank-%d.txt", rank);
    file = fopen(name, "w");
    if (file == NULL) { perror(name); MPI_Abort(MPI_COMM_WORLD, 2); }
    fprintf(file, "%d of %d\n", rank, ranks);
    fclose(file);
    MPI_Barrier(MPI_COMM_WORLD);
    if (argc > 1) sleep(atoi(argv[1]));
    MPI_Finalize();
    return 0;
}
"""
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Images(NamedTuple):
    """The names of the images.

    Attributes:
        busybox: A static busybox and an empty ``/tmp``, FROM scratch: no ``/etc/passwd``, no library.
        python: Debian's ``python3`` with its standard library.
        mpich: Debian's MPICH; ``model [SECONDS]`` says ``rank N of M``, writes ``rank-N.txt``, and stays so long.
        openmpi: The same with Debian's Open MPI.
    """

    busybox: str = f"{REPOSITORY}/busybox:latest"
    python: str = f"{REPOSITORY}/python:latest"
    mpich: str = f"{REPOSITORY}/mpich:latest"
    openmpi: str = f"{REPOSITORY}/openmpi:latest"


class CannotMakeError(Exception):
    """This machine lacks what images are made of."""


class Root:
    """The files of an image."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("bin", "lib", "lib64"):
            (path / "usr" / name).mkdir(parents=True)
            (path / name).symlink_to(f"usr/{name}")
        for name in ("etc", "proc", "sys", "dev", "root"):
            (path / name).mkdir()
        (path / "tmp").mkdir()
        (path / "tmp").chmod(0o1777)

    def add(self, *files: str | Path) -> None:
        """Copy files of the machine to the same places, with the libraries that they load."""
        for file in (*files, *_libraries(files)):
            self.put(file, file)

    def put(self, file: str | Path, at: str | Path) -> None:
        """Copy one file of the machine."""
        target = self.path / str(at).lstrip("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)

    def add_packages(self, *names: str) -> None:
        """Copy what Debian packages have installed, but for their manuals and headers."""
        listed = _output("dpkg", "--listfiles", *names).splitlines()
        unwanted = ("/usr/share/doc", "/usr/share/man", "/usr/share/lintian", "/usr/include")
        files = [Path(path) for path in listed if not path.startswith(unwanted)]
        compiled = [path for folder in {file.parent for file in files} for path in folder.glob("__pycache__/*.pyc")]
        self.add(*(file for file in (*files, *compiled) if file.is_file()))

    def add_shell(self) -> None:
        """Add a static busybox under all of its names."""
        busybox = _program("busybox")
        if _libraries([busybox]):
            raise CannotMakeError("busybox is not static (Debian: busybox-static)")
        self.put(busybox, "/bin/busybox")
        for applet in _output(busybox, "--list").split():
            if not (link := self.path / "bin" / applet).exists():
                link.symlink_to("busybox")

    def add_model(self, compiler: str) -> None:
        """Compile the MPI program."""
        with tempfile.TemporaryDirectory() as folder:
            source, program = Path(folder, "model.c"), Path(folder, "model")
            source.write_text(_SOURCE)
            _output(_program(compiler), "-O1", "-o", str(program), str(source))
            self.put(program, "/usr/local/bin/model")
            self.add(*_libraries([program]))

    def add_root_user(self) -> None:
        """Add the user that MPI programs look up when they run as root."""
        (self.path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
        (self.path / "etc/group").write_text("root:x:0:\n")


def _busybox(root: Root) -> None:
    root.add_shell()


def _python(root: Root) -> None:
    interpreter = Path("/usr/bin/python3").resolve()
    if not interpreter.exists():
        raise CannotMakeError("Debian's own Python is not there (Debian: python3-minimal, libpython3-stdlib)")
    library = f"lib{interpreter.name}"
    root.add_packages(f"{interpreter.name}-minimal", f"{library}-minimal", f"{library}-stdlib")
    root.put(interpreter, "/usr/bin/python3")
    root.add_shell()


def _mpich(root: Root) -> None:
    root.add(_program("mpiexec.hydra"), _program("hydra_pmi_proxy"))
    root.put(_program("mpiexec.hydra"), "/usr/bin/mpiexec")
    root.add_model("mpicc.mpich")
    root.add_root_user()
    root.add_shell()


def _openmpi(root: Root) -> None:
    root.add_packages("openmpi-bin", "openmpi-common", "libopenmpi3", "libpmix2")
    root.add(_program("ssh"))  # looked for even where all ranks are of one machine; openmpi-bin depends on it
    for name in ("mpiexec", "mpirun"):
        root.put(_program("orterun"), f"/usr/bin/{name}")
    root.add_model("mpicc.openmpi")
    root.add_root_user()
    root.add_shell()


_RECIPES: Final[dict[str, Callable[[Root], None]]] = {
    "busybox": _busybox,
    "python": _python,
    "mpich": _mpich,
    "openmpi": _openmpi,
}


def make(address: str, names: Iterable[str] = Images._fields) -> list[str]:
    """Put images into an engine that does not have them yet.

    Args:
        address: The engine.
        names: Which images, as the fields of ``Images`` are called.

    Returns:
        The full names of those that it did not have.

    Raises:
        CannotMakeError: This machine lacks what they are made of.
    """
    made: list[str] = []
    with _one_at_a_time(), contextlib.closing(docker.APIClient(base_url=address, version="auto")) as api:
        for name in names:
            if not _is_there(api, full_name := getattr(Images(), name)):
                archive = _archive(name)
                _remove(api, full_name)
                _put_in(api, full_name, archive)
                made.append(full_name)
    return made


def remove(address: str, names: Iterable[str]) -> None:
    """Remove images from an engine.

    Args:
        address: The engine.
        names: Their full names.
    """
    with contextlib.closing(docker.APIClient(base_url=address, version="auto")) as api:
        for name in names:
            _remove(api, name)


def _remove(api: docker.APIClient, name: str) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        api.remove_image(name, force=True)


@contextlib.contextmanager
def _one_at_a_time() -> Generator[None]:
    """Have other sessions wait that make the same images."""
    with (cache_folder() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_there(api: docker.APIClient, name: str) -> bool:
    try:
        labels = api.inspect_image(name)["Config"]["Labels"] or {}
    except docker.errors.NotFound:
        return False
    return bool(labels.get(LABEL) == _making())


def _put_in(api: docker.APIClient, name: str, archive: Path) -> None:
    repository, _, tag = name.rpartition(":")
    changes = [f"ENV PATH={_PATH}", f"LABEL {LABEL}={_making()}"]
    answer = api.import_image(str(archive), repository, tag, changes=changes)
    if "error" in answer:
        raise CannotMakeError(f"the engine does not take {name}: {answer}")


def _archive(name: str) -> Path:
    """Give the files of an image as an archive; one that was made before, where nothing has changed since."""
    archive = cache_folder() / f"{name}-{_making()}.tar"
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            root, unfinished = Root(Path(folder, "root")), Path(folder, "unfinished")
            _RECIPES[name](root)
            with tarfile.open(unfinished, "w") as tar:
                tar.add(root.path, "", filter=_as_root)
            for older in archive.parent.glob(f"{name}-*.tar"):
                older.unlink()
            unfinished.replace(archive)
    return archive


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def cache_folder() -> Path:
    """Give the folder of what one session makes and others use."""
    folder = Path(os.environ.get("ROMPY_TEST_CACHE") or Path(tempfile.gettempdir(), f"rompy-test-{os.getuid()}"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise CannotMakeError(f"{folder} belongs to somebody else: set ROMPY_TEST_CACHE to another folder")
    return folder


@functools.cache
def _making() -> str:
    """What images are made of, and how: the packages of the machine, and this module."""
    packages = _output(_program("dpkg-query"), "--show")
    return hashlib.sha256(Path(__file__).read_bytes() + packages.encode()).hexdigest()[:16]


def _libraries(files: Iterable[str | Path]) -> list[str]:
    """List the shared libraries that programs and libraries need, and the loader."""
    binaries = [str(file) for file in files if _is_binary(file)]
    if not binaries:
        return []
    lines = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout.splitlines()
    words = [word for line in lines if line.startswith("\t") for word in line.split() if word.startswith("/")]
    return sorted(set(words))


def _is_binary(file: str | Path) -> bool:
    with Path(file).open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotMakeError(f"{name} is not on this machine; on Debian: .ci/start-docker install")
    return found


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as exc:
        raise CannotMakeError(f"{command[0]}: {exc.stderr}") from exc


if __name__ == "__main__":
    for address in sys.argv[1:]:
        print(address, *make(address))
