"""Work on threads: all of it is done, errors come when all has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from ihomer.errors import UsageError
from ihomer.learners.executor import Executor

THREADS = pytest.mark.parametrize("threads", [1, 2, 3, 8])


def boom(message: str) -> Callable[[], None]:
    def fail() -> None:
        raise ValueError(message)

    return fail


@THREADS
@pytest.mark.parametrize("tasks", [0, 1, 2, 20])
def test_all_work_is_done_once(threads: int, tasks: int) -> None:
    counts = [0] * tasks

    def count(number: int) -> None:
        counts[number] += 1

    executor = Executor(threads)
    for _ in range(3):
        executor.run([partial(count, number) for number in range(tasks)])
    assert counts == [3] * tasks


@THREADS
@pytest.mark.parametrize("failing", [0, 1, 4])
def test_when_an_error_is_raised_no_work_is_going_on(threads: int, failing: int) -> None:
    """Nothing may still be writing into arrays that the caller is about to drop or to save."""
    begun: list[int] = []
    done: list[int] = []
    pause = threading.Event()

    def late(number: int) -> None:
        # Ends after the failure, if it runs beside it at all.
        begun.append(number)
        pause.wait(0.05)
        done.append(number)

    work = [partial(late, number) for number in range(5)]
    executor = Executor(threads)
    with pytest.raises(ValueError, match="this one"):
        executor.run([*work[:failing], boom("this one"), *work[failing + 1 :]])
    others = {number for number in range(5) if number != failing}
    assert sorted(done) == sorted(begun)
    # One after the other, the first error is the end; beside each other, the others are done.
    assert set(done) == (set(range(failing)) if threads == 1 else others)
    done.clear()
    executor.run(work)  # it still works
    assert sorted(done) == [0, 1, 2, 3, 4]


@THREADS
def test_of_several_errors_the_first_in_order_is_raised(threads: int) -> None:
    first = threading.Event()

    def slow() -> None:
        first.wait(0.05)
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first"):
        Executor(threads).run([slow, boom("the second"), boom("the third")])
    with pytest.raises(ValueError, match="the first"):
        Executor(threads).run([lambda: None, slow, boom("the second")])


def test_two_threads_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=20.0)
    Executor(2).run([meeting.wait, meeting.wait])


def test_one_thread_is_the_callers_and_keeps_the_order() -> None:
    seen: list[tuple[int, int]] = []

    def note(number: int) -> None:
        seen.append((number, threading.get_ident()))

    Executor(1).run([partial(note, number) for number in range(4)])
    assert seen == [(k, threading.get_ident()) for k in range(4)]


@pytest.mark.parametrize("threads", [0, -1])
def test_there_is_at_least_one_thread(threads: int) -> None:
    with pytest.raises(UsageError, match=f"found {threads}, accepted: 1 or more"):
        Executor(threads)
