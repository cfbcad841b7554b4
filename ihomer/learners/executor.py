"""Independent pieces of work, one after the other or on threads.

In: functions without arguments, none of which touches what another one writes. Out: all of them
done. It is the one place that knows about threads; kernels release the interpreter lock, so two
threads run two kernels at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ihomer.errors import UsageError

Work = Callable[[], object]


class Executor:
    """Runs work; threads are started when they are first needed.

    Parameters
    ----------
    threads
        1: in the caller's thread.

    Raises
    ------
    UsageError
        `threads` is less than 1.

    Examples
    --------
    >>> done = []
    >>> Executor(2).run([lambda: done.append("a"), lambda: done.append("b")])
    >>> sorted(done)
    ['a', 'b']
    """

    def __init__(self, threads: int = 1) -> None:
        if threads < 1:
            raise UsageError(f"threads: found {threads}, accepted: 1 or more")
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}  # threads are started anew

    def resize(self, threads: int) -> None:
        """Use so many from the next work on; raises `UsageError` below 1."""
        if threads < 1:
            raise UsageError(f"threads: found {threads}, accepted: 1 or more")
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None
        self.threads = threads

    def run(self, work: Sequence[Work]) -> None:
        """Do all of `work`; when an error is raised, the first in order, none goes on.

        In the caller's thread alone no more is begun after an error; threads do the rest first.
        """
        if self.threads == 1 or len(work) < 2:
            for task in work:
                task()
            return
        if self._pool is None:
            # The caller's thread works, too.
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="ihomer")
        # From one queue, so that no thread waits while there is work.
        waiting = deque(enumerate(work))
        errors: dict[int, BaseException] = {}
        helpers = min(self.threads, len(work)) - 1
        working = [self._pool.submit(_drain, waiting, errors) for _ in range(helpers)]
        _drain(waiting, errors)
        for helper in working:
            helper.result()
        if errors:
            raise errors[min(errors)]


def _drain(waiting: deque[tuple[int, Work]], errors: dict[int, BaseException]) -> None:
    while True:
        try:
            number, task = waiting.popleft()
        except IndexError:
            return
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - raised by the caller when all has ended
            errors[number] = error
