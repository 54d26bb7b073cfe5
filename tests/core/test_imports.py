from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

import rompy_core

HEAVY = "attrs attr cattrs psutil docker numpy pydantic yaml jinja2 pytest rompy_local"


def _type_checkers_see() -> dict[str, str]:
    tree = ast.parse(Path(rompy_core.__file__).read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    assert [ast.unparse(block.test) for block in blocks] == ["TYPE_CHECKING"]
    imports = [node for node in blocks[0].body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_importing_costs_no_dependency_and_no_plugin(run_python: Callable[..., str]) -> None:
    code = f"import sys, rompy_core; print([name for name in {HEAVY.split()!r} if name in sys.modules])"

    printed = run_python(code)

    assert printed.strip() == "[]"


def test_asking_for_a_config_loads_no_plugin_and_no_extra(run_python: Callable[..., str]) -> None:
    absent = ["psutil", "docker", "numpy", "pydantic", "yaml", "jinja2", "pytest", "rompy_local"]
    code = (
        "import sys; from rompy_core import ModelRun, FilesConfig, TemplateConfig, list_plugins; list_plugins();"
        f"ModelRun(run_id='a'); print([name for name in {absent!r} if name in sys.modules])"
    )

    printed = run_python(code)

    assert printed.strip() == "[]"


def test_public_names_are_sorted_and_unique() -> None:
    constants_first = sorted(set(rompy_core.__all__), key=lambda name: (not name.isupper(), name))

    assert rompy_core.__all__ == constants_first


def test_type_checkers_and_the_interpreter_see_the_same_names_in_the_same_modules() -> None:
    lazily = {name: f"rompy_core.{module}" for name, module in rompy_core._HOMES.items()}

    assert lazily == _type_checkers_see()
    assert sorted(lazily) == sorted(rompy_core.__all__)


@pytest.mark.parametrize("name", rompy_core.__all__)
def test_each_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(rompy_core, name)

    own = vars(value)["__doc__"] if isinstance(value, type) else value.__doc__

    assert own
    assert own.strip()
    assert own.strip() != getattr(value.__base__, "__doc__", None) if isinstance(value, type) else True


@pytest.mark.parametrize("name", rompy_core.__all__)
def test_each_public_name_is_the_same_object_at_home(name: str) -> None:
    home = importlib.import_module(f"rompy_core.{rompy_core._HOMES[name]}")

    assert getattr(rompy_core, name) is getattr(home, name)


def test_dir_tells_what_can_be_imported() -> None:
    assert dir(rompy_core) == sorted(rompy_core.__all__)


def test_an_unknown_name_is_an_attribute_error_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'rompy_core' has no attribute 'ModelRum'"):
        rompy_core.ModelRum  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'ModelRum'"):
        from rompy_core import ModelRum  # noqa: F401


def test_a_star_import_brings_all_public_names(run_python: Callable[..., str]) -> None:
    code = "from rompy_core import *; import rompy_core; print(set(rompy_core.__all__) <= set(globals()))"

    assert run_python(code).strip() == "True"
