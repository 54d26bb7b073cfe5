"""What any object that is like a model run, and any plugin's result, has to say; whoever made it.

``run_id`` is all that a model run must have. ``output_dir``, ``generate()`` and ``staging_dir`` are used where they
exist, and a result is read by its ``success``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard, cast, final

from rompy_core._errors import ModelRunError, RompyError, WorkspaceError


def check_model_run(model_run: object) -> None:
    """Refuse what cannot be a model run.

    Raises:
        ModelRunError: It is ``None``, or has no ``run_id``.
    """
    if model_run is None:
        raise ModelRunError("model_run cannot be None; give an object with a run_id")
    run_id = getattr(model_run, "run_id", None)
    if not isinstance(run_id, str) or not run_id:
        raise ModelRunError(
            f"model_run must have a run_id (a string), found {type(model_run).__name__} with {run_id!r}"
        )


def generate_workspace(model_run: Any) -> Path:
    """Have *model_run* generate its inputs, once, and give the directory with them.

    ``generate()`` may give a path, nothing, or an object with ``staging_dir`` and maybe ``success``. A model run
    without ``generate()`` has its directory made, empty.

    Raises:
        WorkspaceError: There is no such directory afterwards, or ``generate()`` would remove the workspaces of others.
        RompyError: The object that was given back says that it failed.
    """
    _refuse_to_lose_others(model_run)
    generate = getattr(model_run, "generate", None)
    made = generate() if callable(generate) else None
    if success_of(made) is False:
        raise RompyError(f"generate() of run {model_run.run_id!r} reports failure: {message_of(made) or repr(made)}")
    names = _workspace_names(model_run, made)
    path = next((Path(name) for name in names if is_path(name) and name), None)
    if path is None:
        raise ModelRunError(f"no workspace: generate() gave {made!r} and the model run has no output_dir")
    if not callable(generate):
        path.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        raise WorkspaceError(path, "is no directory after generate()")
    return path


def _refuse_to_lose_others(model_run: Any) -> None:
    """Stop a ``generate()`` that would remove ``output_dir`` itself: rompy's own removes whatever is in its way."""
    is_flat = getattr(model_run, "run_id_subdir", True) is False
    output_dir = expected_workspace(model_run)
    if not is_flat or getattr(model_run, "delete_existing", False) is not True:
        return
    if output_dir is not None and output_dir.is_dir() and any(output_dir.iterdir()):
        detail = "delete_existing would remove output_dir itself, with all runs in it; set run_id_subdir=True"
        raise WorkspaceError(output_dir, detail)


def _workspace_names(model_run: Any, made: object) -> Iterator[object]:
    # One after the other: reading an attribute of another library's model run may be work.
    yield made
    yield getattr(made, "staging_dir", None)
    yield getattr(model_run, "staging_dir", None)
    yield expected_workspace(model_run)


def expected_workspace(model_run: Any) -> Path | None:
    """Say where a model run will generate its inputs.

    Args:
        model_run: A ``ModelRun``, or an object that says as rompy's do where its files go: by ``output_dir``,
            ``run_id`` and ``run_id_subdir``.

    Returns:
        The path, which may be relative; ``None`` where that cannot be told without generating.
    """
    own = getattr(model_run, "workspace_dir", None)
    if isinstance(own, Path):
        return own
    output_dir: object = getattr(model_run, "output_dir", None)
    if not is_path(output_dir):
        return None
    path = Path(output_dir)
    return path / model_run.run_id if getattr(model_run, "run_id_subdir", True) else path


def is_path(value: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether *value* names a file or a directory."""
    return isinstance(value, str | os.PathLike)


def success_of(result: object) -> bool | None:
    """Read a plugin's result by its ``success``, or as a plain truth value; ``None`` where it says neither."""
    if isinstance(result, Mapping):
        result = cast("Mapping[str, object]", result).get("success")
    elif hasattr(result, "success"):
        result = cast("Any", result).success
    elif not isinstance(result, bool) and hasattr(result, "__getitem__"):
        with contextlib.suppress(Exception):  # an object of other hands may raise anything for an item it has not
            result = cast("Any", result)["success"]
    return bool(result) if is_truth_value(result) else None


def is_truth_value(value: object) -> bool:
    """Whether *value* is true or false; numpy has a kind of its own, which is no subclass of bool."""
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def message_of(result: object) -> str:
    """Give what a plugin's result says of itself, in one sentence; empty where it says nothing."""
    for name in ("error", "message", "reason"):
        if isinstance(result, Mapping):
            text = cast("Mapping[str, object]", result).get(name)
        else:
            text = getattr(result, name, None)
        if isinstance(text, str) and text:
            return text
    return ""


@final
class GeneratedRun:
    """A model run whose inputs are there already: its ``generate()`` gives the workspace and writes nothing.

    Backends of other hands often call ``generate()`` themselves; this is how the inputs are generated once all the
    same. It is otherwise the model run that it stands for, also for ``isinstance``.
    """

    __slots__ = ("__model_run", "__workspace_dir")
    __model_run: object
    __workspace_dir: Path

    def __init__(self, model_run: Any, workspace_dir: Path) -> None:
        object.__setattr__(self, "_GeneratedRun__model_run", model_run)
        object.__setattr__(self, "_GeneratedRun__workspace_dir", workspace_dir)

    @property  # type: ignore[misc]  # object's can be set; whose class this is, is not to be changed
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]  # as above
        """The class of the model run."""
        return type(self.__model_run)

    def generate(self) -> Path:
        """Give the workspace."""
        return self.__workspace_dir

    @property
    def workspace_dir(self) -> Path:
        """The workspace, also where the model run itself names another."""
        return self.__workspace_dir

    @property
    def staging_dir(self) -> Path:
        """The workspace; rompy's own ``staging_dir`` makes the directory, or removes it first."""
        return self.__workspace_dir

    def __reduce__(self) -> tuple[Any, ...]:
        return GeneratedRun, (self.__model_run, self.__workspace_dir)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__model_run, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__model_run, name, value)

    def __repr__(self) -> str:
        return repr(self.__model_run)
