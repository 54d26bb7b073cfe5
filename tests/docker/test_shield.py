from __future__ import annotations

import signal
import threading

import pytest

from rompy_docker._shield import shielded


def _nothing() -> None: ...


def _interrupt() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_the_main_thread_only_waits_and_gets_what_comes_of_it() -> None:
    where = shielded(threading.current_thread, give_up=_nothing, discard=print)

    assert where is not threading.main_thread()


def test_another_thread_needs_no_shield() -> None:
    found: list[bool] = []

    def work() -> None:
        here = threading.current_thread()
        found.append(shielded(threading.current_thread, give_up=_nothing, discard=print) is here)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert found == [True]


def test_what_is_raised_comes_out() -> None:
    def fail() -> None:
        raise LookupError("no image")

    with pytest.raises(LookupError, match="no image"):
        shielded(fail, give_up=_nothing, discard=print)


@pytest.mark.parametrize("gives_up", [True, False])
def test_an_interrupt_waits_for_the_work_to_end_and_goes_on(gives_up: bool) -> None:
    asked = threading.Event()
    discarded: list[str] = []

    def work() -> str:
        _interrupt()
        assert asked.wait(20)
        if gives_up:
            raise RuntimeError("given up")
        return "a container"

    with pytest.raises(KeyboardInterrupt):
        shielded(work, give_up=asked.set, discard=discarded.append)

    assert discarded == ([] if gives_up else ["a container"])


def test_an_interrupt_within_a_finalizer_of_io_does_not_reach_the_work() -> None:
    """What python clears when it comes in the main thread comes to the waiting one here."""
    import io

    class Closing(io.RawIOBase):
        def close(self) -> None:
            if not self.closed:
                super().close()
                _interrupt()
                for _ in range(1000):
                    pass

    asked = threading.Event()

    def work() -> None:
        Closing()
        asked.wait(20)

    with pytest.raises(KeyboardInterrupt):
        shielded(work, give_up=asked.set, discard=lambda _: None)
