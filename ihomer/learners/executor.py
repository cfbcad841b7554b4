"""Independent pieces of work, one after the other or on threads.

In: functions without arguments, none of which touches what another one writes. Out: all of them
done. It is the one place that knows about threads; kernels release the interpreter lock, so two
threads run two kernels at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

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

    def run(self, work: Sequence[Work]) -> None:
        """Do all of `work`; after an error, which is raised, no more is begun and none goes on."""
        if self.threads == 1 or len(work) < 2:
            for task in work:
                task()
            return
        if self._pool is None:
            # The caller's thread works, too.
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="ihomer")
        waiting = [self._pool.submit(task) for task in work[1:]]
        try:
            work[0]()
        finally:
            for future in waiting:
                future.exception()
        for future in waiting:
            future.result()
