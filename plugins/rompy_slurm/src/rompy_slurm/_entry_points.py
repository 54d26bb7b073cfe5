"""What the entry point of this distribution refers to: a function that makes the backend, and imports it only then.

rompy 0.6 imports every plugin of a group at once, gives up the whole group where one import fails, calls each by the
name of what its entry point refers to, and of two with one name it keeps the later one. So nothing can fail here, and a
class called ``SlurmRunBackend`` takes the place of no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rompy_slurm._backend import SlurmRunBackend


def rompy_slurm() -> SlurmRunBackend:
    """Make the run backend ``slurm``, which runs a model as a job of a Slurm cluster."""
    from rompy_slurm._backend import SlurmRunBackend

    return SlurmRunBackend()
