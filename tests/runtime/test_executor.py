"""One job at a time, results by queue, no thread left behind."""

from __future__ import annotations

import threading

import pytest

from splitnet.errors import ModelError, OverloadError
from splitnet.runtime.executor import SHORT_S, Done, Executor


class Wakeups:
    """Counts the wake-ups and waits for the next one."""

    def __init__(self) -> None:
        self._semaphore = threading.Semaphore(0)

    def __call__(self) -> None:
        self._semaphore.release()

    def wait(self) -> None:
        assert self._semaphore.acquire(timeout=5)


def run(executor: Executor[str], wakeups: Wakeups, job: int, value: str) -> Done[str]:
    executor.submit(job, lambda: value)
    wakeups.wait()
    done = executor.take()
    assert done is not None
    return done


def test_jobs_run_on_a_named_thread_and_come_back_with_their_number() -> None:
    wakeups = Wakeups()
    with Executor[str]("splitnet-device", wakeups) as executor:
        assert executor.take() is None
        for job in range(3):
            done = run(executor, wakeups, job, "x" * job)
            assert (done.job, done.value, done.error) == (job, "x" * job, None)
            assert done.duration_s >= 0
        executor.submit(9, lambda: threading.current_thread().name)
        wakeups.wait()
        last = executor.take()
    assert last is not None
    assert last.value == "splitnet-device"
    assert "splitnet-device" not in {thread.name for thread in threading.enumerate()}


def test_a_second_job_has_to_wait_until_the_first_result_is_taken() -> None:
    wakeups, gate = Wakeups(), threading.Event()
    with Executor[bool]("test", wakeups) as executor:
        executor.submit(1, lambda: gate.wait(5))
        with pytest.raises(OverloadError, match="one job at a time"):
            executor.submit(2, lambda: True)
        gate.set()
        wakeups.wait()
        assert executor.busy
        with pytest.raises(OverloadError):
            executor.submit(2, lambda: True)
        executor.take()
        assert not executor.busy


@pytest.mark.parametrize("error", [ModelError("bad"), ZeroDivisionError("x"), MemoryError()])
def test_whatever_a_job_raises_becomes_its_result(error: Exception) -> None:
    def fail() -> str:
        raise error

    wakeups = Wakeups()
    with Executor[str]("test", wakeups) as executor:
        executor.submit(1, fail)
        wakeups.wait()
        done = executor.take()
        assert done is not None
        assert done.error is error
        assert run(executor, wakeups, 2, "still alive").value == "still alive"


def test_close_waits_for_the_job_under_way() -> None:
    gate, ended = threading.Event(), threading.Event()

    def work() -> None:
        gate.wait(5)
        ended.set()

    executor: Executor[None] = Executor("test", lambda: None)
    executor.start()
    executor.submit(1, work)
    gate.set()
    executor.close()
    assert ended.is_set()


def test_an_executor_that_was_never_started_can_be_closed() -> None:
    Executor[None]("test", lambda: None).close()


def test_short_work_runs_at_once_on_the_caller_s_thread() -> None:
    wakeups = Wakeups()
    with Executor[str]("test", wakeups) as executor:
        executor.submit(1, lambda: threading.current_thread().name, expected_s=SHORT_S / 2)
        wakeups.wait()  # the reactor must not go to sleep over a result that waits
        done = executor.take()
        assert done is not None
        assert done.value == threading.current_thread().name
        executor.submit(2, lambda: threading.current_thread().name, expected_s=2 * SHORT_S)
        wakeups.wait()
        done = executor.take()
        assert done is not None
        assert done.value == "test"
