"""PSI/J's local executor: submit, wait and, at the timeout, cancel."""

from __future__ import annotations

from datetime import timedelta

from psij import Job, JobExecutor, JobSpec, JobState
from serving import Ending, Request, serve

EXECUTOR = JobExecutor.get_instance("local")


def run(request: Request) -> Ending:
    """Run one command."""
    stdout_path = request.directory / "stdout.log"
    job = Job(
        JobSpec(
            executable=request.argv[0],
            arguments=request.argv[1:],
            directory=request.directory,
            stdout_path=stdout_path,
        )
    )
    EXECUTOR.submit(job)
    status = job.wait(None if request.timeout is None else timedelta(seconds=request.timeout))
    if status is None:
        job.cancel()
        job.wait()
        return Ending(ok=False, timed_out=True)
    return Ending(ok=status.state is JobState.COMPLETED, stdout_path=stdout_path)


if __name__ == "__main__":
    serve(run)
