"""What the entry points of this distribution refer to: what makes a backend or an executor, and imports it only then.

rompy 0.6 imports every plugin of a group at once, gives up the whole group where one import fails, calls each by the
name of what its entry point refers to, and of two with one name it keeps the later one. So nothing can fail here, and a
class called ``SlurmRunBackend`` takes the place of no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from rompy_slurm._backend import SlurmRunBackend


def rompy_slurm() -> SlurmRunBackend:
    """Make the run backend ``slurm``, which runs a model as a job of a Slurm cluster."""
    from rompy_slurm._backend import SlurmRunBackend

    return SlurmRunBackend()


@final
class SlurmArrays:
    """Makes the executor ``slurm-array``: members run in the tasks of job arrays, each of which does many."""

    def __call__(self, *, max_workers: int, **options: Any) -> Executor:
        """Make the executor; its options are in ``docs/ensembles.md``."""
        from rompy_slurm._array import make_executor

        return make_executor(max_workers, options)

    def check(self, **options: Any) -> None:
        """Find what is wrong with the options, or what Slurm would refuse."""
        from rompy_slurm._array import check_options

        check_options(options)


rompy_slurm_array = SlurmArrays()
