"""What the entry points of this distribution refer to: functions that make the plugins, and import them only then.

rompy 0.6 imports every plugin of a group at once, gives up the whole group where one import fails, calls each by the
name of what its entry point refers to, and of two with one name it keeps the later one. So nothing can fail here, and a
class called ``LocalPipelineBackend`` takes the place of no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rompy_core._noop import NoopPostprocessor
    from rompy_core._pipeline import LocalPipelineBackend


def rompy_core_local() -> LocalPipelineBackend:
    """Make the pipeline backend ``local``, which runs the stages one after the other in this process."""
    from rompy_core._pipeline import LocalPipelineBackend

    return LocalPipelineBackend()


def rompy_core_noop() -> NoopPostprocessor:
    """Make the postprocessor ``noop``, which looks whether there is anything to process."""
    from rompy_core._noop import NoopPostprocessor

    return NoopPostprocessor()
